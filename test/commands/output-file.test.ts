// Files that commands write: durable, complete or unchanged, and refused before the work that makes them.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, readdir, readFile, realpath, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { checkWritable } from '../../src/commands/output-file.js'
import type { Problem } from '../../src/problem.js'
import { root, temporaryDirectory } from '../material.js'
import { withoutPreload } from '../native-faults/library.js'
import { StorageFaults } from '../native-faults/storage-faults.js'

const run = promisify(execFile)

/** Writes a file in a process of its own, and prints the code of the error. */
async function write(path: string, content: string, env: Readonly<Record<string, string>>): Promise<string> {
  const script = `import { writeAtomically } from ${JSON.stringify(join(root, 'dist/commands/output-file.js'))}
    const [, path, content] = process.argv
    await writeAtomically(path, Buffer.from(content)).then(() => console.log('written'), ({ code }) => console.log(code))`
  const args = ['--input-type=module', '--eval', script, path, content]
  const { stdout } = await run(process.execPath, args, { env: { ...process.env, ...env } })
  return stdout.trim()
}

test('a file is flushed to the disk with its directory, and stays as it was if that fails', {
  skip: withoutPreload,
}, async () => {
  const directory = await realpath(await temporaryDirectory())
  const path = join(directory, 'task.safetensors')
  const faults = await StorageFaults.on(directory)
  faults.count(['flush'])
  assert.equal(await write(path, 'old', faults.env), 'written')
  assert.equal(faults.calls, 2)
  faults.set({ kind: 'fail', error: 'EIO' }, { calls: ['flush'], times: 1 })
  assert.equal(await write(path, 'new', faults.env), 'unwritable_file')
  faults.set({ kind: 'fail', error: 'ENOSPC' }, { calls: ['write'] })
  assert.equal(await write(path, 'new', faults.env), 'unwritable_file')
  faults.close()
  assert.equal(await readFile(path, 'utf8'), 'old')
  assert.deepEqual(await readdir(directory), ['task.safetensors'])
})

test('a path that cannot become a file is an error before anything is written', async () => {
  const directory = await temporaryDirectory()
  await mkdir(join(directory, 'folder'))
  await writeFile(join(directory, 'file'), '')
  const fails = (path: string, message: RegExp) =>
    assert.rejects(checkWritable(path), (error: Problem) => {
      assert.equal(error.code, 'unwritable_file')
      assert.match(error.message, message)
      return true
    })
  await fails(join(directory, 'folder'), /folder is a directory; expected the name of the file to write/)
  await fails(`${directory}/new/`, /new\/ is a directory/)
  await fails(join(directory, 'none', 'task'), /there is no directory .*none; create it first/)
  await fails(join(directory, 'file', 'task'), /cannot be written/)
  await fails('/dev/null', /\/dev\/null is not a regular file/)
  await checkWritable(join(directory, 'file'))
  await checkWritable(join(directory, 'task'))
  assert.deepEqual((await readdir(directory)).sort(), ['file', 'folder'])
})
