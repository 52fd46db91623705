// The command evaluate as users run it, with golden texts, labels and logits of PyTorch (test/fixtures/reference).

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { parse } from 'csv-parse/sync'
import { readTaskFile } from '../../src/petl/task-file.js'
import { startRunning } from '../http/running.js'
import { type GoldenRow, golden, masksDir, referenceModelDir, taskBytes, temporaryDirectory } from '../material.js'
import { cli } from '../server-process.js'

const run = promisify(execFile)
const folder = await temporaryDirectory()
const modelDir = await referenceModelDir()
const evaluate = async (task: string, ...args: string[]) =>
  (await run(process.execPath, [cli, 'evaluate', task, ...args, '--threads', '1'], { cwd: folder })).stdout
const taskFile = join(masksDir, 'sst2.safetensors')

const { labels } = readTaskFile(taskBytes('sst2'))
type LabelledRow = GoldenRow & { readonly label: string }
const rows = (golden.sst2 ?? []) as readonly LabelledRow[]
const predicted = rows.map(({ logits }) => labels[logits.indexOf(Math.max(...logits))])
const right = rows.filter(({ label }, at) => label === predicted[at]).length
await writeFile(join(folder, 'sst2.jsonl'), rows.map(({ text, label }) => JSON.stringify({ text, label })).join('\n'))

test('evaluate reports scores of labels, confusions and calibration, and writes the errors and a page', async () => {
  const files = ['--errors', 'wrong.csv', '--report', 'report.html']
  const stdout = await evaluate(taskFile, 'sst2.jsonl', '--model-dir', modelDir, ...files)
  const accuracy = (right / rows.length).toFixed(4)
  assert.match(stdout, new RegExp(`^32 examples; 95 % confidence intervals in parentheses\\naccuracy +${accuracy} \\(`))
  assert.match(stdout, /\nlabel +precision +recall +f1 +examples\nnegative +[01]\.\d{4} /)
  assert.match(stdout, /\ncalibration error +0\.\d{4}\nwrong examples +wrong\.csv\nreport +report\.html\n$/)
  const wrong = rows.flatMap(({ text, label }, at) =>
    label === predicted[at] ? [] : [{ place: `sst2.jsonl:${at + 1}`, text, expected: label, predicted: predicted[at] }],
  )
  assert.ok(wrong.length > 0)
  const written = parse(await readFile(join(folder, 'wrong.csv'), 'utf8'), { columns: true }) as Record<
    string,
    string
  >[]
  assert.deepEqual(
    written.map(({ place, text, expected, predicted }) => ({ place, text, expected, predicted })),
    wrong,
  )
  for (const { score, text_pair } of written) assert.ok(Number(score) >= 0.5 && text_pair === '')
  const page = await readFile(join(folder, 'report.html'), 'utf8')
  assert.match(
    page,
    /<h2>Labels<\/h2>[\s\S]*<h2>Confusions<\/h2>[\s\S]*<h2>Calibration<\/h2>[\s\S]*<h2>Worst errors<\/h2>/,
  )
})

test('evaluate gives the same numbers for a task file and for the task on a server', async () => {
  const { server } = await startRunning()
  const fromFile = JSON.parse(await evaluate(taskFile, 'sst2.jsonl', '--json', '--model-dir', modelDir))
  const fromServer = JSON.parse(await evaluate(`${server.address}/tasks/sst2`, 'sst2.jsonl', '--json'))
  const { task: _, calibration: fileCalibration, ...file } = fromFile
  const { task: __, calibration: serverCalibration, ...onServer } = fromServer
  assert.deepEqual(onServer, file)
  assert.ok(Math.abs(fileCalibration.error - serverCalibration.error) < 1e-5)
  const byLabel = new Map(file.labels.map((scores: { label: string }) => [scores.label, scores]))
  for (const label of labels) {
    const actual = rows.filter((row) => row.label === label).length
    const claimed = predicted.filter((name) => name === label).length
    const hits = rows.filter((row, at) => row.label === label && predicted[at] === label).length
    const scores = { label, precision: hits / claimed || 0, recall: hits / actual, f1: (2 * hits) / (claimed + actual) }
    assert.deepEqual(byLabel.get(label), { ...scores, support: actual })
  }
})
