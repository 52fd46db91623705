// A process with a store, which does what its parent asks and says what came of it. Its looks are short.

import { Problem } from '../../src/problem.js'
import { LmdbStore } from '../../src/store/lmdb.js'

export type Ask =
  | { readonly ask: 'put'; readonly key: string; readonly bytes: number }
  | { readonly ask: 'get'; readonly key: string }
  | { readonly ask: 'failure' }

const [directory = ''] = process.argv.slice(2)
const store = LmdbStore.open(directory, { checkIntervalMs: 20 })

/** @returns for a change nothing, or the code of its problem */
async function done(ask: Ask): Promise<string | undefined> {
  switch (ask.ask) {
    case 'put':
      await store.change((records) => records.put('files', ask.key, Buffer.alloc(ask.bytes, ask.key)))
      return undefined
    case 'get':
      return store.get('files', ask.key)?.toString('utf8', 0, ask.key.length)
    case 'failure':
      return store.failure
  }
}

process.on('message', async (ask: Ask) => {
  const answer = await done(ask).catch((error) => (error instanceof Problem ? error.code : String(error)))
  process.send?.([answer])
})
process.send?.(['open'])
