// Tests of the injected storage faults, in processes that write files and lmdb stores.

import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { describe, test } from 'node:test'
import { LmdbStore } from '../../src/store/lmdb.js'
import { root, temporaryDirectory } from '../material.js'
import { withoutPreload } from './library.js'
import { StorageFaults } from './storage-faults.js'

/** Runs a script. In the script, `line()` waits for a line of input. */
function run(script: string, env: Readonly<Record<string, string>>, ...args: string[]): ChildProcess {
  const withInput = `import fs, { promises } from 'node:fs'
    import { createInterface } from 'node:readline'
    const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
    const line = () => input.next()
    const errorOf = (work) => { try { work(); return 'done' } catch (error) { return -error.errno } }
    const [, path] = process.argv
    ${script}`
  return spawn(process.execPath, ['--input-type=module', '--eval', withInput, ...args], {
    env: { ...process.env, ...env },
    stdio: ['pipe', 'pipe', 'inherit'],
    cwd: root,
  })
}

async function outputOf(child: ChildProcess): Promise<string[]> {
  let output = ''
  child.stdin?.end()
  child.stdout?.on('data', (piece) => {
    output += piece
  })
  await once(child, 'close')
  return output.trim().split('\n')
}

describe('storage faults', { skip: withoutPreload }, () => {
  test('make the given calls fail for files under the path, and no others', async () => {
    const directory = await temporaryDirectory()
    const faults = await StorageFaults.on(join(directory, 'watched'))
    faults.set({ kind: 'fail', error: 'EDQUOT' }, { calls: ['write'], first: 2, times: 1 })
    const child = run(
      `const files = [path + '/watched', path + '/other'].map((name) => fs.openSync(name, 'w'))
       for (const data of ['a', 'b', 'c']) for (const file of files) console.log(errorOf(() => fs.writeSync(file, data)))
       for (const file of files) console.log(errorOf(() => fs.fsyncSync(file)))`,
      faults.env,
      directory,
    )
    assert.deepEqual(await outputOf(child), [
      'done',
      'done',
      `${constants.errno.EDQUOT}`,
      'done',
      'done',
      'done',
      'done',
      'done',
    ])
    assert.deepEqual([faults.calls, faults.faults], [3, 1])
    assert.equal(readFileSync(join(directory, 'watched'), 'utf8'), 'ac')
    assert.equal(readFileSync(join(directory, 'other'), 'utf8'), 'abc')
    faults.close()
  })

  test('can change while the process runs, in its threads, too', async () => {
    const directory = await temporaryDirectory()
    const faults = await StorageFaults.on(directory)
    const child = run(
      `for (;;) {
         if ((await line()).done) break
         const file = await promises.open(path + '/file', 'a')
         const write = await file.write('four').then(({ bytesWritten }) => bytesWritten, (error) => error.code)
         const sync = await file.sync().then(() => 'done', (error) => error.code)
         const cut = await file.truncate(2).then(() => 'done', (error) => error.code)
         await file.close()
         console.log([write, sync, cut].join(' '))
       }`,
      faults.env,
      directory,
    )
    const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]()
    const write = async () => {
      child.stdin?.write('\n')
      return (await lines.next()).value
    }
    assert.equal(await write(), '4 done done')
    assert.equal(faults.calls, 3)
    faults.set({ kind: 'fail', error: 'ENOSPC' }, { calls: ['write', 'resize'] })
    assert.equal(await write(), 'ENOSPC done ENOSPC')
    faults.set({ kind: 'fail', error: 'EIO' }, { calls: ['flush'] })
    assert.equal(await write(), '4 EIO done')
    faults.set({ kind: 'shorten' }, { calls: ['write'], times: 1 })
    assert.equal(await write(), '4 done done')
    assert.equal(faults.calls, 2)
    faults.set({ kind: 'delay', delayMs: 600_000 }, { calls: ['flush'] })
    const delayed = write()
    while (faults.faults === 0) await new Promise((resolve) => setTimeout(resolve, 5))
    faults.count(['flush'])
    assert.equal(await delayed, '4 done done')
    assert.deepEqual([faults.calls, faults.faults], [0, 0])
    child.stdin?.end()
    await once(child, 'close')
    faults.close()
  })

  for (const [when, written] of [
    ['before', ''],
    ['halfway', 'fo'],
    ['after', 'four'],
  ] as const)
    test(`kill the process ${when} a call`, async () => {
      const directory = await temporaryDirectory()
      const faults = await StorageFaults.on(directory)
      faults.set({ kind: 'kill', when })
      const child = run(`fs.writeFileSync(path + '/file', 'four')`, faults.env, directory)
      assert.deepEqual(await once(child, 'exit'), [null, 'SIGKILL'])
      assert.equal(readFileSync(join(directory, 'file'), 'utf8'), written)
      faults.close()
    })

  test('reach every write and flush of an lmdb commit; after a kill at any of them the record is old or new', async () => {
    const directory = await temporaryDirectory()
    const commit = async (path: string, kill?: number) => {
      const faults = await StorageFaults.on(path)
      const child = run(
        `const { LmdbStore } = await import('./dist/store/lmdb.js')
         const store = LmdbStore.open(path)
         const put = (value) => store.change((records) => records.put('files', 'a', Buffer.alloc(20_000, value)))
         await put('old')
         console.log('ready')
         await line()
         await put('new')
         console.log('new')
         process.exit()`,
        faults.env,
        path,
      )
      const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]()
      await lines.next()
      if (kill === undefined) faults.count()
      else faults.set({ kind: 'kill', when: 'before' }, { first: kill })
      child.stdin?.end('\n')
      const { value: reported } = await lines.next()
      await once(child, 'close')
      const { calls } = faults
      faults.close()
      const store = LmdbStore.open(path)
      const stored = store.get('files', 'a')?.toString('utf8', 0, 3)
      await store.close()
      return { calls, reported, stored }
    }
    const { calls, ...all } = await commit(join(directory, 'whole'))
    assert.deepEqual(all, { reported: 'new', stored: 'new' })
    assert.ok(calls >= 3, `${calls} calls: pages, a flush, and the page that makes them valid`)
    for (let kill = 1; kill <= calls; kill++) {
      const { reported, stored } = await commit(join(directory, `${kill}`), kill)
      assert.ok(stored === 'old' || stored === 'new')
      if (reported === 'new') assert.equal(stored, 'new')
    }
  })
})
