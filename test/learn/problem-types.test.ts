// Trains a task of each problem type on a few dozen examples with the bundled model, from a data file to a task file.
// The evaluate command must find the same score from the file and from a server.

import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { evaluate } from '../../src/commands/evaluate.js'
import { defaultColumns } from '../../src/data/columns.js'
import { loadModel } from '../../src/learn/model.js'
import { type NewTaskOptions, trainNewTask } from '../../src/learn/new-task.js'
import { loadTrainingData } from '../../src/learn/training-data.js'
import { checkTaskFits, modelOf } from '../../src/petl/combining.js'
import type { ProblemType } from '../../src/petl/task.js'
import { readTaskFile } from '../../src/petl/task-file.js'
import { type Running, startRunning, upload } from '../http/running.js'
import { distance, loadPrototype, modelDir, referenceModelDir } from '../material.js'
import { smallRun } from './material.js'

const folder = await mkdtemp(join(tmpdir(), 'propetl-kinds-'))
after(() => rm(folder, { recursive: true }))
const model = await loadModel(modelDir, 24)
const prototype = loadPrototype()

const people = ['Ada Lovelace', 'Alan Turing', 'Grace Hopper', 'Marie Curie']
const places = ['London', 'Paris', 'the U.S.', 'New York']
const tagged = people.flatMap((person) =>
  places.flatMap((place) => {
    const tag = (name: string, type: string) => name.split(' ').map((_, i) => `${i === 0 ? 'B' : 'I'}-${type}`)
    return [
      {
        words: [...person.split(' '), 'lived', 'in', ...place.split(' '), '!'],
        tags: [...tag(person, 'PER'), 'O', 'O', ...tag(place, 'LOC'), 'O'],
      },
      {
        words: ['In', ...place.split(' '), '😀', 'I', 'met', ...person.split(' ')],
        tags: ['O', ...tag(place, 'LOC'), 'O', 'O', 'O', ...tag(person, 'PER')],
      },
    ]
  }),
)
const things = { animal: ['dog', 'cat', 'horse', 'lion'], tool: ['hammer', 'saw', 'drill', 'axe'] } as const
const starts = ['the', 'my old', 'one', 'that']
const pairs = starts.flatMap((start) =>
  Object.entries(things).flatMap(([kind, names]) =>
    Object.entries(things).flatMap(([other, others]) =>
      names.map((name, i) => ({ a: `${start} ${name}`, b: `a ${others[(i + 1) % 4]}`, same: kind === other ? 5 : 1 })),
    ),
  ),
)
const lines = (examples: readonly object[]) => examples.map((example) => JSON.stringify(example)).join('\n')

interface Case {
  readonly file: string
  readonly content: string
  /** Set where the labels do not decide it. */
  readonly givenType?: ProblemType
  readonly metric: string
  readonly changes?: Partial<NewTaskOptions>
}

const cases: Readonly<Record<ProblemType, Case>> = {
  single_label_classification: {
    file: 'things.tsv',
    content: `text\tlabel\n${starts
      .flatMap((start) =>
        Object.entries(things).flatMap(([kind, names]) => names.map((name) => `${start} ${name}\t${kind}`)),
      )
      .join('\n')}`,
    metric: 'accuracy',
    changes: { head: 'dense' },
  },
  multi_label_classification: {
    file: 'several.jsonl',
    content: lines(
      pairs.map(({ a, b, same }) => ({
        text: `${a} and ${b}`,
        label: same === 5 ? [things.animal.some((name) => a.endsWith(name)) ? 'animal' : 'tool'] : ['animal', 'tool'],
      })),
    ),
    metric: 'macro_f1',
  },
  regression: {
    file: 'pairs.csv',
    content: `text,text_pair,label\n${pairs.map(({ a, b, same }) => `${a},${b},${same + 0.5}`).join('\n')}`,
    metric: 'r2',
    changes: { epochs: 8 },
  },
  token_classification: {
    file: 'names.csv',
    content: `text,label\n${tagged.map(({ words, tags }) => `${words.join('  ')},${tags.join(' ')}`).join('\n')}`,
    givenType: 'token_classification',
    metric: 'span_f1',
    changes: { head: 'dense', epochs: 4 },
  },
  feature_extraction: {
    file: 'similar.jsonl',
    content: lines(pairs.map(({ a, b, same }) => ({ text: a, text_pair: b, label: same }))),
    givenType: 'feature_extraction',
    metric: 'spearman',
    changes: { normalize: false },
  },
}

const options: NewTaskOptions = { ...smallRun, rates: { scores: 0.05, heads: 0.01 }, baseline: true }
const flags = {
  threads: 1,
  maxLength: 24,
  numerics: 'float32' as const,
  seed: 1,
  textColumn: 'text',
  labelColumn: 'label',
  json: true,
}

let running: Promise<Running> | undefined

for (const [problem, { file, content, givenType, metric, changes }] of Object.entries(cases))
  test(`trains a ${problem} from ${file}, serves it with the same score, and resumes it`, async () => {
    const path = join(folder, file)
    const devPath = join(folder, `dev-${file}`)
    const [train, dev] = parts(content, file)
    await writeFile(path, train)
    await writeFile(devPath, dev)
    const columns = defaultColumns
    const data = await loadTrainingData(
      model,
      { data: path, dev: devPath, devShare: 0.25, columns, seed: 3, ...(givenType && { problem: givenType }) },
      (warning) => assert.match(warning, /are also in the dev part|only 2 different numbers/),
    )
    assert.equal(data.space.problem, problem)
    assert.equal(data.metric, metric)
    const trainTask = (more: Partial<NewTaskOptions>, signal = new AbortController().signal) =>
      trainNewTask(model, prototype, data, { ...options, ...changes, ...more }, { onProgress: () => {}, signal })
    const { file: bytes, result, headOnly = Number.NaN, confusions } = await trainTask({})
    assert.ok(result.score > 0.6 && headOnly >= -1 && headOnly <= 1, `${result.score}, baseline ${headOnly}`)
    for (const { actual, predicted, rows, of } of confusions) assert.ok(actual !== predicted && rows > 0 && rows <= of)

    const task = readTaskFile(bytes)
    checkTaskFits(task, modelOf(prototype))
    assert.equal(task.problemType, problem)
    const { losses: _, ...metrics } = task.metrics ?? {}
    assert.deepEqual(metrics, {
      dev: { [metric]: Math.round(result.score * 1e4) / 1e4, rows: data.dev.examples.length },
    })
    assert.equal(task.head?.dense !== undefined, changes?.head === 'dense')
    if (task.problemType === 'feature_extraction') assert.equal(task.normalize, false)

    // evaluate must give the dev score for a file with the dev part, both from the task file and from the server.
    const taskPath = join(folder, `${problem}.safetensors`)
    await writeFile(taskPath, bytes)
    running ??= startRunning()
    const { server, app } = await running
    const id = problem.replaceAll('_', '-')
    assert.equal((await upload(app, id, bytes)).statusCode, 201)
    const reference = await referenceModelDir()
    const scoreOf = async (where: string) =>
      JSON.parse(await evaluate(where, devPath, { ...flags, modelDir: reference })) as Record<string, unknown>
    const [local, remote] = [await scoreOf(taskPath), await scoreOf(`${server.address}/tasks/${id}`)]
    for (const found of [local, remote]) {
      assert.deepEqual([found.metric, found.rows], [metric, data.dev.examples.length])
      assert.ok(Math.abs((found.score as number) - result.score) < 1e-5, `${found.score}, trained ${result.score}`)
    }
    assert.ok(distance(local.interval as number[], remote.interval as number[]) < 1e-5)

    const stop = new AbortController()
    stop.abort()
    const same = await trainTask({ resume: task, seed: 8, baseline: false }, stop.signal)
    assert.ok(Math.abs(same.result.score - result.score) < 1e-5)
    assert.deepEqual(readTaskFile(same.file).mask, task.mask)
  })

/** A training file and a dev file, with every fourth example. */
function parts(content: string, file: string): [string, string] {
  const lines = content.split('\n')
  const header = file.endsWith('.jsonl') ? [] : lines.splice(0, 1)
  const part = (isDev: boolean) => [...header, ...lines.filter((_, at) => (at % 4 === 2) === isDev)].join('\n')
  return [part(false), part(true)]
}
