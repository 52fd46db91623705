// A process with a store. It runs its parent's commands and sends back their results. It checks its files often.

import { Problem } from '../../src/problem.js'
import { LmdbStore } from '../../src/store/lmdb.js'

export type Command =
  | { readonly command: 'put'; readonly key: string; readonly bytes: number }
  | { readonly command: 'get'; readonly key: string }
  | { readonly command: 'failure' }

const [directory = ''] = process.argv.slice(2)
const store = LmdbStore.open(directory, { checkIntervalMs: 20 })

/** @returns the result; for a change, undefined or the code of its problem */
async function done(command: Command): Promise<string | undefined> {
  switch (command.command) {
    case 'put':
      await store.change((records) => records.put('files', command.key, Buffer.alloc(command.bytes, command.key)))
      return undefined
    case 'get':
      return store.get('files', command.key)?.toString('utf8', 0, command.key.length)
    case 'failure':
      return store.failure
  }
}

process.on('message', async (command: Command) => {
  const result = await done(command).catch((error) => (error instanceof Problem ? error.code : String(error)))
  process.send?.([result])
})
process.send?.(['open'])
