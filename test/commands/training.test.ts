// The learning commands as they are typed, down to the files that they leave behind.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { promisify } from 'node:util'
import { readPrototype } from '../../src/petl/prototype-file.js'
import { readTaskFile } from '../../src/petl/task-file.js'
import { cli } from '../server-process.js'

const run = promisify(execFile)
const folder = await mkdtemp(join(tmpdir(), 'propetl-commands-'))
after(() => rm(folder, { recursive: true }))

const propetl = (...words: string[]) => run(process.execPath, [cli, ...words], { cwd: folder })
const refused = (words: string[], message: RegExp) =>
  assert.rejects(propetl(...words), (error: Error & { code: number; stderr: string }) => {
    // 2 for a command line that is wrong in itself.
    assert.equal(error.code, error.stderr.startsWith('error: ') ? 2 : 1)
    assert.match(error.stderr, message)
    return true
  })

const words = ['dog', 'cat', 'horse', 'lion', 'hammer', 'saw', 'drill', 'axe']
const rows = ['a', 'the', 'one', 'my'].flatMap((start) =>
  words.map((word, i) => ({ text: `${start} ${word}`, label: i < 4 ? 'animal' : 'tool' })),
)
const lines = rows.map((row) => JSON.stringify(row)).join('\n')
await writeFile(join(folder, 'things.jsonl'), lines)
await mkdir(join(folder, 'things'))
await writeFile(join(folder, 'things', 'train.jsonl'), lines)
await writeFile(join(folder, 'things', 'task.json'), '{"metric":"matthews_correlation"}')
await mkdir(join(folder, 'sizes'))
const numbers = rows.map(({ text }, i) => JSON.stringify({ text, label: (i % 8) + 0.5 }))
await writeFile(join(folder, 'sizes', 'train.jsonl'), numbers.join('\n'))

test('learn writes a task file and a report; evaluate scores the file', async () => {
  const quick = ['--epochs', '2', '--batch-rows', '8', '--threads', '1']
  const { stdout, stderr } = await propetl('learn', 'things.jsonl', '--out', 'mine.safetensors', ...quick)
  assert.match(stderr, /28 rows to learn from, 4 for dev; single label classification, 2 labels/)
  assert.match(stderr, /step 8 of 8, loss \d/)
  assert.match(stdout, /^dev accuracy +[01]\.\d{4} \(epoch [12] of 2\)\na head alone +[01]\.\d{4}$/m)
  assert.match(stdout, /^put it live +curl -X PUT --data-binary @mine\.safetensors localhost:8080\/tasks\/mine$/m)
  assert.deepEqual(readTaskFile(await readFile(join(folder, 'mine.safetensors'))).labels, ['animal', 'tool'])
  const evaluated = await propetl('evaluate', 'mine.safetensors', 'things.jsonl', '--json', '--threads', '1')
  const { score, interval, rows: count } = JSON.parse(evaluated.stdout)
  assert.equal(count, 32)
  assert.ok(interval[0] <= score && score <= interval[1])
})

test('the command that puts a task live fits the file, the port and the key', async () => {
  const env = { ...process.env, PROPETL_PORT: '9000', PROPETL_KEY: 'secret' }
  const flags = ['--epochs', '1', '--batch-rows', '8', '--threads', '1', '--no-baseline']
  const options = { cwd: folder, env }
  const { stdout } = await run(
    process.execPath,
    [cli, 'learn', 'things.jsonl', '--out', "my task's.safetensors", ...flags],
    options,
  )
  const command = /^put it live +(.*)$/m.exec(stdout)?.[1] ?? ''
  // A shell shows the words that curl would get.
  const words = await run('sh', ['-c', command.replace(/^curl/, "printf '%s\\n'")], options)
  assert.deepEqual(words.stdout.trimEnd().split('\n'), [
    '-X',
    'PUT',
    '-H',
    'authorization: Bearer secret',
    '--data-binary',
    "@my task's.safetensors",
    "localhost:9000/tasks/my task's",
  ])
})

test('learn and train report to programs too', async () => {
  const quick = ['--epochs', '1', '--batch-rows', '8', '--threads', '1', '--json']
  const learned = JSON.parse((await propetl('learn', 'things.jsonl', '--out', 'told.safetensors', ...quick)).stdout)
  assert.equal(learned.bytes, (await readFile(join(folder, 'told.safetensors'))).byteLength)
  assert.equal(learned.metric, 'accuracy')
  assert.ok(learned.score >= 0 && learned.score <= 1 && learned.head_only <= 1)
  const trained = JSON.parse((await propetl('train', 'things', 'sizes', '--bottleneck', '4', ...quick)).stdout)
  assert.deepEqual(
    trained.tasks.map(({ task }: { task: string }) => task),
    ['things', 'sizes'],
  )
  // Paper, section 4.1: 32 bits a weight, 1 bit a mask entry, of 6 layers of width 384.
  const n = 2 * 4 * 384
  assert.equal(trained.storage_bits.shared, 32 * (n + 4 + 384) + 6 * n)
  assert.equal(trained.storage_bits.each, n)
})

test('train writes a prototype and a mask for each task', async () => {
  const quick = ['--epochs', '1', '--batch-rows', '8', '--threads', '1', '--bottleneck', '4']
  const { stdout } = await propetl('train', 'things', 'sizes', '--out', 'made', ...quick)
  assert.match(stdout, /things +dev matthews_correlation -?[01]\.\d{4}\nsizes +dev pearson_and_spearman/)
  const prototype = readPrototype(await readFile(join(folder, 'made', 'prototype.safetensors')))
  assert.deepEqual((await readdir(join(folder, 'made', 'masks'))).sort(), ['sizes.safetensors', 'things.safetensors'])
  const task = readTaskFile(await readFile(join(folder, 'made', 'masks', 'sizes.safetensors')))
  assert.equal(task.prototype, prototype.digest)
  assert.deepEqual(task.range, [0.5, 7.5])
})

const named = rows.map(({ text, label }, i) => ({
  text: [...text.split(' '), '.'],
  label: ['O', label === 'tool' ? 'B-TOOL' : 'O', i % 2 ? 'O' : 'I-END'],
}))
await writeFile(join(folder, 'named.jsonl'), named.map((row) => JSON.stringify(row)).join('\n'))
await writeFile(
  join(folder, 'named.csv'),
  ['text,label', ...named.map(({ text, label }) => `${text.join(' ')},${label.join(' ')}`)].join('\n'),
)
await mkdir(join(folder, 'similar'))
const similar = rows.map(({ text }, i) => JSON.stringify({ text, text_pair: rows[(3 * i) % 32]?.text, label: i % 3 }))
await writeFile(join(folder, 'similar', 'train.jsonl'), similar.join('\n'))
await writeFile(join(folder, 'similar', 'task.json'), '{"problem_type":"feature_extraction"}')
const several = rows.map(({ text, label }, i) => JSON.stringify({ text, label: i % 2 ? [label] : [label, 'even'] }))
await writeFile(join(folder, 'several.jsonl'), several.join('\n'))

test('train takes tasks of all kinds together', async () => {
  const quick = ['--epochs', '1', '--batch-rows', '16', '--threads', '1', '--bottleneck', '4', '--head', 'dense']
  const tasks = ['things', 'sizes', 'named.jsonl', 'similar', 'several.jsonl']
  const { stdout } = await propetl('train', ...tasks, '--out', 'all', ...quick)
  const score = '-?[01]\\.\\d{4}'
  for (const metric of ['named +dev span_f1', 'similar +dev spearman', 'several +dev macro_f1'])
    assert.match(stdout, new RegExp(`${metric} ${score}`))
  const read = async (id: string) => readTaskFile(await readFile(join(folder, 'all', 'masks', `${id}.safetensors`)))
  const files = await Promise.all(['things', 'sizes', 'named', 'similar', 'several'].map(read))
  assert.deepEqual(
    files.map(({ problemType, head }) => [problemType, head?.dense?.outputs]),
    [
      ['single_label_classification', 384],
      ['regression', 384],
      ['token_classification', 384],
      ['feature_extraction', undefined],
      ['multi_label_classification', 384],
    ],
  )
})

test('learn tells of words that were taken for another label, and of a bare backbone', async () => {
  const quick = ['--epochs', '1', '--batch-rows', '16', '--threads', '1']
  const told = ['--problem-type', 'token_classification', '--head-rate', '1e-9', '--dev', 'named.csv', '--no-baseline']
  const words = await propetl('learn', 'named.csv', '--out', 'named.safetensors', ...told, ...quick)
  assert.match(words.stderr, /token classification, 3 labels/)
  assert.match(words.stdout, /^dev span_f1 .*\ntaken for another +\d+ of \d+ "[A-Z-]+" for "[A-Z-]+"$/m)
  const pairs = ['--problem-type', 'feature_extraction', '--no-normalize']
  const vectors = await propetl('learn', 'similar/train.jsonl', '--out', 'similar.safetensors', ...pairs, ...quick)
  assert.match(vectors.stderr, /feature extraction, from 0 to 2/)
  assert.match(vectors.stdout, /^dev spearman .*\nthe bare backbone +-?[01]\.\d{4}$/m)
  const { stdout } = await propetl('inspect', 'similar.safetensors')
  assert.match(stdout, /labels +none\n/)
  assert.match(stdout, /head +none; vectors as they are/)
})

test('learn keeps the threshold that it scores by', async () => {
  const quick = ['--epochs', '1', '--batch-rows', '16', '--threads', '1', '--no-baseline', '--json']
  const { stdout } = await propetl('learn', 'several.jsonl', '--out', 's.safetensors', '--threshold', '0.2', ...quick)
  const task = readTaskFile(await readFile(join(folder, 's.safetensors')))
  assert.equal(task.problemType === 'multi_label_classification' && task.threshold, 0.2)
  const { score } = JSON.parse(stdout)
  const evaluated = JSON.parse((await propetl('evaluate', 's.safetensors', 'several.jsonl', '--json')).stdout)
  assert.equal(evaluated.metric, 'macro_f1')
  // Nothing is far above 0.2 after so little, or far below: nearly all labels are said to apply.
  assert.ok(score > 0.5 && evaluated.score > 0.5)
})

test('what does not go together is refused', async () => {
  const learn = (file: string, ...words: string[]) => ['learn', file, '--out', 'x', ...words]
  await refused(
    learn('things.jsonl', '--problem-type', 'token_classification'),
    /things\.jsonl:1: column "label" has 1 labels, but column "text" has 2 words/,
  )
  await refused(
    learn('things.jsonl', '--problem-type', 'feature_extraction'),
    /things\.jsonl:1: there is no column "text_pair"/,
  )
  await refused(learn('things.jsonl', '--threshold', '0.3'), /a single_label_classification has no threshold/)
  await refused(learn('several.jsonl', '--threshold', '1'), /Expected a number above 0 and below 1/)
  await refused(learn('things.jsonl', '--no-normalize', '--no-baseline'), /has no vectors to normalise/)
  const features = ['--problem-type', 'feature_extraction']
  await refused(learn('similar/train.jsonl', ...features, '--head', 'dense'), /a feature_extraction has no head/)
  await refused(['train', 'similar', '--method', 'head'], /method "head" learns nothing of "similar"/)
})

test('what cannot work is said at once', async () => {
  await refused(['learn', 'things.jsonl', '--out', 'no/such/folder/x'], /no\/such\/folder\/x cannot be written/)
  await refused(['learn', 'none.jsonl', '--out', 'x'], /none\.jsonl cannot be read/)
  await refused(['learn', 'things.jsonl', '--out', 'x', '--epochs', 'many'], /Expected a whole number from 1 to 10000/)
  await refused(
    ['learn', 'things.jsonl', '--out', 'x', '--label-column', 'class'],
    /things\.jsonl:1: there is no column "class"/,
  )
  await refused(['evaluate', 'things.jsonl', 'things.jsonl'], /things\.jsonl: /)
  await refused(['train', 'things', '--method', 'plain', '--out', 'x'], /method "plain" makes no prototype to write/)
  assert.ok(!(await readdir(folder)).some((name) => name.endsWith('.partial')))
})
