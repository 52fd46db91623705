// Training the bundled tasks anew: their order, the starts that they may use, and the table.

import assert from 'node:assert/strict'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { type BundledRun, bundledTable, trainBundledTasks, trainingOrder } from '../../bench/results/bundled.js'
import { readTaskFile } from '../../src/petl/task-file.js'
import { temporaryFolder } from './material.js'

test('tasks that the prototype was trained on come first', () => {
  assert.deepEqual(trainingOrder(['a', 'b', 'c', 'd'], ['d', 'b', 'z']), ['b', 'd', 'a', 'c'])
})

test('a task is trained once, with the description of the bundled file and without its own mask as a start', async () => {
  const folder = await temporaryFolder()
  const data = join(folder, 'data', 'sst2')
  await mkdir(data, { recursive: true })
  const row = (text: string, label: string) => JSON.stringify({ text, label })
  const rows = ['film', 'plot', 'cast'].flatMap((what) => [
    row(`a great ${what}`, 'positive'),
    row(`a dull ${what}`, 'negative'),
  ])
  await writeFile(join(data, 'train.jsonl'), rows.join('\n'))
  await writeFile(join(data, 'dev.jsonl'), rows.slice(0, 4).join('\n'))
  await writeFile(join(data, 'task.json'), '{"metric":"macro_f1"}')
  const lines: string[] = []
  const out = join(folder, 'out')
  const options = {
    data: join(folder, 'data'),
    tasks: ['sst2'],
    maxRows: 6,
    out,
    print: (line: string) => lines.push(line),
  }
  const [result] = await trainBundledTasks(options)
  assert.ok(result)
  assert.equal(result.metric, 'macro_f1')
  assert.notEqual(result.start, 'sst2')
  assert.match(lines.join('\n'), /^1 of 1: sst2: macro_f1 [01]\.\d{4}, of the bundled file [01]\.\d{4};[^\n]*$/)
  const file = await readFile(join(out, 'sst2.safetensors'))
  assert.equal(file.byteLength, result.bytes)
  const bundled = readTaskFile(await readFile('masks/sst2.safetensors'))
  assert.equal(readTaskFile(file).description, bundled.description)

  assert.deepEqual(await trainBundledTasks(options), [result])
  assert.equal(lines.length, 1)
})

test('the table shows the gain in points, and marks a calibration error above 0.05', () => {
  const result = (task: string, changes: Partial<BundledRun>): BundledRun => ({
    ...{ task, prototype: 'p', metric: 'macro_f1', score: 0.9, bundledScore: 0.875, start: 'trec', epoch: 2 },
    ...{ seconds: 41.6, bytes: 22_088, bundledBytes: 22_080 },
    ...changes,
  })
  const table = bundledTable([
    result('sst2', { calibrationError: 0.0512 }),
    result('cola', { score: 0.85, calibrationError: 0.05 }),
  ])
  assert.deepEqual(table.split('\n').slice(2), [
    '| cola | macro f1 | 0.8500 | 0.8750 | −2.5 | 0.050 | trec, epoch 2 | 42 | 22,088 (22,080) |',
    '| sst2 | macro f1 | 0.9000 | 0.8750 | +2.5 | **0.051** | trec, epoch 2 | 42 | 22,088 (22,080) |',
  ])
})
