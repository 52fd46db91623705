// The commands learn, train and evaluate as users run them, and the files that they write.

import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
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

const propetl = (...args: string[]) => run(process.execPath, [cli, ...args], { cwd: folder })
const fails = (exitCode: number, args: string[], message: RegExp) =>
  assert.rejects(propetl(...args), (error: Error & { code: number; stderr: string }) => {
    assert.equal(error.code, exitCode, error.stderr)
    assert.match(error.stderr, message)
    return true
  })

// All files are written before the first test is defined: while this module waits, Node.js 20 runs the hook above as soon as
// no test is left to run, which is at once for tests that a name pattern skips.
const words = ['dog', 'cat', 'horse', 'lion', 'hammer', 'saw', 'drill', 'axe']
// Some labels are wrong, so that there is always something left to train.
const examples = ['a', 'the', 'one', 'my'].flatMap((start) =>
  words.map((word, i) => ({
    text: `${start} ${word}`,
    label: i < 4 === (start !== 'my' || i % 4 > 0) ? 'animal' : 'tool',
  })),
)
const lines = examples.map((example) => JSON.stringify(example)).join('\n')
await writeFile(join(folder, 'things.jsonl'), lines)
await mkdir(join(folder, 'things'))
await writeFile(join(folder, 'things', 'train.jsonl'), lines)
await writeFile(join(folder, 'things', 'task.json'), '{"metric":"matthews_correlation"}')
await mkdir(join(folder, 'sizes'))
const numbers = examples.map(({ text }, i) => JSON.stringify({ text, label: (i % 8) + 0.5 }))
await writeFile(join(folder, 'sizes', 'train.jsonl'), numbers.join('\n'))

const named = examples.map(({ text, label }, i) => ({
  text: [...text.split(' '), '.'],
  label: ['O', label === 'tool' ? 'B-TOOL' : 'O', i % 2 ? 'O' : 'I-END'],
}))
await writeFile(join(folder, 'named.jsonl'), named.map((example) => JSON.stringify(example)).join('\n'))
await writeFile(
  join(folder, 'named.csv'),
  ['text,label', ...named.map(({ text, label }) => `${text.join(' ')},${label.join(' ')}`)].join('\n'),
)
await writeFile(
  join(folder, 'misnamed.csv'),
  [
    'text,label',
    ...named.map(
      ({ text }) =>
        `${text.join(' ')},B-TOOL ${text
          .slice(1)
          .map(() => 'I-END')
          .join(' ')}`,
    ),
  ].join('\n'),
)
await mkdir(join(folder, 'similar'))
const similar = examples.map(({ text }, i) =>
  JSON.stringify({ text, text_pair: examples[(3 * i) % 32]?.text, label: i % 3 }),
)
await writeFile(join(folder, 'similar', 'train.jsonl'), similar.join('\n'))
await writeFile(join(folder, 'similar', 'task.json'), '{"problem_type":"feature_extraction"}')
const several = examples.map(({ text, label }, i) => JSON.stringify({ text, label: i % 2 ? [label] : [label, 'even'] }))
await writeFile(join(folder, 'several.jsonl'), several.join('\n'))
// Every third label is wrong, so that no head is perfect.
const many = Array.from({ length: 20 }, () => examples)
  .flat()
  .map(({ text, label }, i) => ({ text, label: i % 3 > 0 ? label : ['animal', 'tool'][(i / 3) % 2] }))
await writeFile(join(folder, 'many.jsonl'), many.map((example) => JSON.stringify(example)).join('\n'))

test('learn writes a task file and a report; evaluate scores the file', async () => {
  const quick = ['--epochs', '2', '--batch-rows', '8', '--threads', '1']
  const { stdout, stderr } = await propetl('learn', 'things.jsonl', '--out', 'mine.safetensors', ...quick)
  assert.match(stderr, /32 examples; single label classification, 2 labels\n.*5-fold cross-validation/)
  assert.match(stderr, /a head on the mask of .+ is ready: accuracy [01]\.\d{4}/)
  assert.match(
    stdout,
    /^held out +32 examples, 5-fold cross-validation; .*\naccuracy +[01]\.\d{4} \([01]\.\d{4} to [01]\.\d{4}\)\n(.+\n)*calibration error +0\.\d{4}\nmask +(started from|that of|none; no mask) .*\nhead without mask +[01]\.\d{4}$/m,
  )
  assert.match(stdout, /^put it live +curl -X PUT --data-binary @mine\.safetensors localhost:8080\/tasks\/mine$/m)
  assert.deepEqual(readTaskFile(await readFile(join(folder, 'mine.safetensors'))).labels, ['animal', 'tool'])
  const evaluated = await propetl('evaluate', 'mine.safetensors', 'things.jsonl', '--json', '--threads', '1')
  const { score, interval, rows: count } = JSON.parse(evaluated.stdout)
  assert.equal(count, 32)
  assert.ok(interval[0] <= score && score <= interval[1])
})

test('the upload command has the quoted file name, a valid task id, the port and the key', async () => {
  const env = { ...process.env, PROPETL_PORT: '9000', PROPETL_KEY: 'secret' }
  const flags = ['--epochs', '1', '--batch-rows', '8', '--threads', '1', '--no-baseline']
  const options = { cwd: folder, env }
  const { stdout } = await run(
    process.execPath,
    [cli, 'learn', 'things.jsonl', '--out', "my task's.safetensors", ...flags],
    options,
  )
  const command = /^put it live +(.*)$/m.exec(stdout)?.[1] ?? ''
  // The shell prints the arguments that curl would get.
  const words = await run('sh', ['-c', command.replace(/^curl/, "printf '%s\\n'")], options)
  assert.deepEqual(words.stdout.trimEnd().split('\n'), [
    '-X',
    'PUT',
    '-H',
    'authorization: Bearer secret',
    '--data-binary',
    "@my task's.safetensors",
    'localhost:9000/tasks/my-task-s',
  ])
})

test('learn and train print reports as JSON', async () => {
  const quick = ['--epochs', '1', '--batch-rows', '8', '--threads', '1', '--json']
  const report = JSON.parse((await propetl('learn', 'things.jsonl', '--out', 'json.safetensors', ...quick)).stdout)
  assert.equal(report.bytes, (await readFile(join(folder, 'json.safetensors'))).byteLength)
  assert.equal(report.metric, 'accuracy')
  assert.ok(report.score >= 0 && report.score <= 1 && report.head_only <= 1)
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

test('train writes a prototype and a mask for each task, which hold the text prefix', async () => {
  const quick = ['--epochs', '1', '--batch-rows', '8', '--threads', '1', '--bottleneck', '4', '--text-prefix', 'a: ']
  const { stdout } = await propetl('train', 'things', 'sizes', '--out', 'made', ...quick)
  assert.match(stdout, /things +dev matthews_correlation -?[01]\.\d{4}\nsizes +dev r2/)
  const prototype = readPrototype(await readFile(join(folder, 'made', 'prototype.safetensors')))
  assert.deepEqual((await readdir(join(folder, 'made', 'masks'))).sort(), ['sizes.safetensors', 'things.safetensors'])
  const task = readTaskFile(await readFile(join(folder, 'made', 'masks', 'sizes.safetensors')))
  assert.equal(task.prototype, prototype.digest)
  assert.deepEqual(task.range, [0.5, 7.5])
  assert.equal(task.textPrefix, 'a: ')
})

test('train trains tasks of all problem types together', async () => {
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

test('learn prints the most frequent confusions, and the score of the bare backbone', async () => {
  const quick = ['--epochs', '1', '--batch-rows', '16', '--threads', '1']
  const options = [
    '--problem-type',
    'token_classification',
    '--head-rate',
    '1e-9',
    '--dev',
    'misnamed.csv',
    '--no-baseline',
  ]
  const words = await propetl('learn', 'named.csv', '--out', 'named.safetensors', ...options, ...quick)
  assert.match(words.stderr, /token classification, 5 labels/)
  assert.match(
    words.stdout,
    /^span_f1 .*\n(.+\n)*mask .*\nmost confused +\d+ of \d+ "[A-Z-]+" predicted as "[A-Z-]+"$/m,
  )
  const pairs = ['--problem-type', 'feature_extraction', '--no-normalize']
  const vectors = await propetl('learn', 'similar/train.jsonl', '--out', 'similar.safetensors', ...pairs, ...quick)
  assert.match(vectors.stderr, /feature extraction, labels from 0 to 2/)
  assert.match(vectors.stdout, /^held out +.*dev part.*\nspearman .*\n(.+\n)*mask .*\nbare backbone +-?[01]\.\d{4}$/m)
  const { stdout } = await propetl('inspect', 'similar.safetensors')
  assert.match(stdout, /labels +none\n/)
  assert.match(stdout, /head +none; vectors not normalised/)
})

test('learn stores the threshold in the task file and scores with it', async () => {
  const quick = ['--epochs', '1', '--batch-rows', '16', '--threads', '1', '--no-baseline', '--json']
  const { stdout } = await propetl('learn', 'several.jsonl', '--out', 's.safetensors', '--threshold', '0.2', ...quick)
  const task = readTaskFile(await readFile(join(folder, 's.safetensors')))
  assert.equal(task.problemType === 'multi_label_classification' && task.thresholds, 0.2)
  const { score } = JSON.parse(stdout)
  const evaluated = JSON.parse((await propetl('evaluate', 's.safetensors', 'several.jsonl', '--json')).stdout)
  assert.equal(evaluated.metric, 'macro_f1')
  // After so little training all probabilities are near 0.5, so that nearly all labels are predicted.
  assert.ok(score > 0.5 && evaluated.score > 0.5)
})

test('options that do not fit the data or each other are errors', async () => {
  const learn = (file: string, ...options: string[]) => ['learn', file, '--out', 'x', ...options]
  await fails(
    1,
    learn('things.jsonl', '--problem-type', 'token_classification'),
    /things\.jsonl:1: column "label" has 1 labels, but column "text" has 2 words/,
  )
  await fails(
    1,
    learn('things.jsonl', '--problem-type', 'feature_extraction'),
    /things\.jsonl: there is no column "text_pair"/,
  )
  await fails(2, learn('things.jsonl', '--threshold', '0.3'), /a single_label_classification has no threshold/)
  await fails(2, learn('several.jsonl', '--threshold', '1'), /Expected a number above 0 and below 1/)
  await fails(2, learn('things.jsonl', '--no-normalize', '--no-baseline'), /has no vectors to normalise/)
  const ids = Array.from({ length: 10_001 }, (_, i) => `item ${i},sku${i}`)
  await writeFile(join(folder, 'ids.csv'), `text,label\n${ids.join('\n')}\n`)
  await fails(1, learn('ids.csv'), /column "label" has 10001 labels; training supports at most 10000\. Name the column/)
  const features = ['--problem-type', 'feature_extraction']
  await fails(2, learn('similar/train.jsonl', ...features, '--head', 'dense'), /a feature_extraction has no head/)
  await fails(2, ['train', 'similar', '--method', 'head'], /method "head" cannot train "similar"/)
  await fails(2, ['train', 'things', '--method', 'plain', '--out', 'x'], /method "plain" makes no prototype to write/)
  assert.ok(!(await readdir(folder)).some((name) => name.endsWith('.partial')))
})

/** Runs learn until its standard error matches, then sends a signal. */
async function interrupted(signal: NodeJS.Signals, when: RegExp, ...args: string[]) {
  const child = spawn(process.execPath, [cli, 'learn', ...args], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] })
  const output = { stdout: '', stderr: '' }
  child.stdout.on('data', (piece) => {
    output.stdout += piece
  })
  child.stderr.on('data', (piece) => {
    const before = output.stderr
    output.stderr += piece
    if (when.test(output.stderr) && !when.test(before)) child.kill(signal)
  })
  const [code] = await once(child, 'close')
  return { code, ...output }
}

test('Ctrl-C before there is a task exits with 130 and leaves an existing file unchanged', async () => {
  await writeFile(join(folder, 'good.safetensors'), 'a good file')
  const { code, stdout, stderr } = await interrupted(
    'SIGINT',
    /held out as the dev part/,
    'many.jsonl',
    '--out',
    'good.safetensors',
  )
  assert.deepEqual([code, stdout], [130, ''])
  assert.match(stderr, /propetl: interrupted before there was a task; nothing was written/)
  assert.equal(await readFile(join(folder, 'good.safetensors'), 'utf8'), 'a good file')
})

for (const [name, signal] of [
  ['Ctrl-C', 'SIGINT'],
  ['SIGTERM', 'SIGTERM'],
] as const)
  test(`${name} during training writes the best task so far`, async () => {
    const args = ['many.jsonl', '--out', `${signal}.safetensors`, '--epochs', '1000', '--threads', '1', '--no-baseline']
    const { code, stdout } = await interrupted(signal, /next, a mask is trained/, ...args)
    assert.equal(code, 0)
    assert.match(stdout, /^mask +(none|that of .+|started from .+, epoch \d+ of \d+), interrupted$/m)
    assert.doesNotMatch(stdout, /was better/)
    assert.deepEqual(readTaskFile(await readFile(join(folder, `${signal}.safetensors`))).labels, ['animal', 'tool'])
  })
