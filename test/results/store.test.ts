// The store of finished runs: it keeps what was stored, drops an incomplete line, and rejects other files.

import assert from 'node:assert/strict'
import { appendFile, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { appendRun, readRuns } from '../../bench/results/store.js'
import { inventedRun, temporaryFolder } from './material.js'

const folder = await temporaryFolder()
const first = inventedRun('head', 1, { a: 0.5 })
const second = inventedRun('multi', 1, { a: 0.6, b: 0.7 })

test('reads the runs that were stored, one per line', async () => {
  const path = join(folder, 'new', 'runs.jsonl')
  assert.deepEqual(await readRuns(path), [])
  await appendRun(path, first)
  await appendRun(path, second)
  assert.deepEqual(await readRuns(path), [first, second])
  assert.equal((await readFile(path, 'utf8')).split('\n').length, 3)
})

test('ignores an incomplete last line, and the next run replaces it', async () => {
  const line = `${JSON.stringify(second)}\n`
  for (const length of [1, 12, 40, line.length - 1]) {
    const path = join(folder, `incomplete-${length}.jsonl`)
    await appendRun(path, first)
    await appendFile(path, line.slice(0, length))
    assert.deepEqual(await readRuns(path), [first])
    await appendRun(path, second)
    assert.deepEqual(await readRuns(path), [first, second])
  }
})

for (const [what, content, message] of [
  ['a file that is not JSON', 'hello\n', /:1: not a finished run of the format propetl-run\/1 \(not JSON/],
  ['a run of another format', '{"format":"propetl-run/0"}\n', /:1: not a finished run/],
  ['a run without a field', `${JSON.stringify({ ...first, seed: undefined })}\n`, /:1: not a finished run/],
  ['a file without line end that is not a store', '{"a": 1}', /:1: not a finished run/],
] as const)
  test(`rejects ${what} and does not change it`, async () => {
    const path = join(folder, 'other.jsonl')
    await writeFile(path, content)
    await assert.rejects(readRuns(path), message)
    await assert.rejects(appendRun(path, first), message)
    assert.equal(await readFile(path, 'utf8'), content)
  })

test('the error names the invalid line', async () => {
  const path = join(folder, 'second.jsonl')
  await writeFile(path, `${JSON.stringify(first)}\n{}\n`)
  await assert.rejects(readRuns(path), /second\.jsonl:2: /)
})
