// Few labelled examples: what the commands learn and evaluate give users, compared with logistic regression on the vectors
// of the bare backbone. The tasks are ones that the prototype was not trained on.

import { execFile } from 'node:child_process'
import { appendFile, copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { defaultColumns } from '../../src/data/columns.js'
import { type LabelSpace, outputCount } from '../../src/data/label-space.js'
import { UnlearnedLabels } from '../../src/data/unlearned-labels.js'
import { evaluationOf, scoreOf } from '../../src/learn/evaluation.js'
import { type Subset, wholeSet } from '../../src/learn/example-set.js'
import { LinearHeads, scalingOf } from '../../src/learn/linear-head.js'
import { loadExampleSet } from '../../src/learn/load-example-set.js'
import { loadModelForTraining, type Model } from '../../src/learn/model.js'
import { trainNewTask } from '../../src/learn/new-task.js'
import { problemTraits } from '../../src/learn/problem-traits.js'
import { Random } from '../../src/learn/random.js'
import { labelledVectors } from '../../src/learn/starting-point.js'
import { Trainer } from '../../src/learn/trainer.js'
import { loadTrainingData } from '../../src/learn/training-data.js'
import { inPackage } from '../../src/package.js'

const run = promisify(execFile)
const cli = fileURLToPath(inPackage('dist/cli.js'))

/** A number of rows for each label, or of rows in all. */
export interface SampleSize {
  readonly count: number
  readonly each: 'label' | 'all'
}

export interface FewShotOptions {
  readonly data: string
  readonly tasks: readonly string[]
  readonly sizes: readonly SampleSize[]
  readonly samples: number
  readonly modelDir: string
  readonly masksDir: string
  readonly store: string
  readonly print: (line: string) => void
}

/** One sample of one task. Scores are accuracies on rows that nothing was trained on. */
export interface FewShotRun {
  readonly task: string
  readonly size: SampleSize
  readonly sample: number
  readonly model: string
  readonly trainRows: number
  readonly testRows: number
  readonly learn: number
  readonly headAlone: number
  readonly logisticRegression: number
  /** Name of the mask that the task file started from, and the epoch that was kept. */
  readonly start: string
  readonly epoch: number
  /** Expected calibration error on the test rows. */
  readonly calibrationError: number
  /** Time of the command learn, from its start to the file. */
  readonly seconds: number
}

/** Most rows that a task is scored on. */
const testRows = 1_000

/** Runs the samples that are not in the store yet, smallest first. */
export async function runFewShot(options: FewShotOptions): Promise<void> {
  const { data, tasks, sizes, samples, modelDir, store, print } = options
  const done = new Set((await readFewShot(store)).map(keyOf))
  const model = await loadModelForTraining(modelDir, undefined)
  const folder = await mkdtemp(join(tmpdir(), 'propetl-few-shot-'))
  try {
    const masks = await otherMasks(options, folder)
    for (let sample = 1; sample <= samples; sample++)
      for (const size of sizes)
        for (const task of tasks) {
          const known = { task, size, sample, model: basename(modelDir) }
          if (done.has(keyOf(known))) continue
          const files = await writeSample(join(data, task), folder, size, sample)
          const result = { ...known, ...files.rows, ...(await runSample(model, files, masks, folder, options)) }
          await mkdir(dirname(store), { recursive: true })
          await appendFile(store, `${JSON.stringify(result)}\n`)
          print(
            `${task}, ${sizeText(size)}, sample ${sample}: learn ${result.learn.toFixed(3)}, head alone ` +
              `${result.headAlone.toFixed(3)}, logistic regression ${result.logisticRegression.toFixed(3)}, ` +
              `${result.seconds.toFixed(0)} s`,
          )
        }
  } finally {
    await rm(folder, { recursive: true })
  }
}

/** The runs of a store; none if there is no file. */
export async function readFewShot(store: string): Promise<FewShotRun[]> {
  const text = await readFile(store, 'utf8').catch(() => '')
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as FewShotRun)
}

const keyOf = ({ task, size, sample, model }: Pick<FewShotRun, 'task' | 'size' | 'sample' | 'model'>): string =>
  JSON.stringify([model, task, size.count, size.each, sample])

export const sizeText = ({ count, each }: SampleSize): string =>
  each === 'label' ? `${count} rows a label` : `${count} rows`

/** A folder of the known masks without those of the tasks that are measured. */
async function otherMasks({ masksDir, tasks }: FewShotOptions, folder: string): Promise<string> {
  const masks = join(folder, 'masks')
  await mkdir(masks)
  for (const name of await readdir(masksDir))
    if (name.endsWith('.safetensors') && !tasks.includes(basename(name, '.safetensors')))
      await copyFile(join(masksDir, name), join(masks, name))
  return masks
}

interface SampleFiles {
  readonly train: string
  readonly test: string
  readonly rows: { readonly trainRows: number; readonly testRows: number }
}

async function writeSample(source: string, folder: string, size: SampleSize, sample: number): Promise<SampleFiles> {
  const lines = async (name: string) =>
    (await readFile(join(source, name), 'utf8')).split('\n').filter((line) => line !== '')
  const all = await lines('train.jsonl')
  const order = Array.from(new Random(sample, 'few-shot rows').order(all.length), (at) => all[at] ?? '')
  const taken = new Map<string, number>()
  const chosen = order.filter((line) => {
    const key = size.each === 'all' ? '' : String((JSON.parse(line) as { label: unknown }).label)
    const count = taken.get(key) ?? 0
    taken.set(key, count + 1)
    return count < size.count
  })
  const test = (await lines('dev.jsonl')).slice(0, testRows)
  const files = { train: join(folder, 'train.jsonl'), test: join(folder, 'test.jsonl') }
  await writeFile(files.train, `${chosen.join('\n')}\n`)
  await writeFile(files.test, `${test.join('\n')}\n`)
  return { ...files, rows: { trainRows: chosen.length, testRows: test.length } }
}

async function runSample(
  model: Model,
  { train, test }: SampleFiles,
  masks: string,
  folder: string,
  { modelDir }: FewShotOptions,
) {
  const propetl = async (...args: string[]) =>
    JSON.parse((await run(process.execPath, [cli, ...args, '--model-dir', modelDir, '--json'])).stdout)
  const out = join(folder, 'task.safetensors')
  const start = performance.now()
  const report = await propetl('learn', train, '--out', out, '--start-masks', masks, '--no-baseline')
  const seconds = (performance.now() - start) / 1000
  const learned = await propetl('evaluate', out, test, '--metric', 'accuracy')
  const head = join(folder, 'head.safetensors')
  await writeFile(head, await trainHeadAlone(model, train))
  const headAlone = await propetl('evaluate', head, test, '--metric', 'accuracy')
  return {
    learn: learned.score as number,
    headAlone: headAlone.score as number,
    logisticRegression: await logisticRegression(model, train, test),
    start: report.start as string,
    epoch: report.epoch as number,
    calibrationError: learned.calibration.error as number,
    seconds,
  }
}

const dataOptions = (data: string) => ({ data, devShare: 0.1, columns: defaultColumns, seed: 1 })

async function trainHeadAlone(model: Model, data: string): Promise<Uint8Array> {
  const { file } = await trainNewTask(
    model,
    undefined,
    await loadTrainingData(model, dataOptions(data), () => {}),
    {
      ...{ maskRows: 'layer', combine: 'none', batchRows: 32, density: 0.5, weightDecay: 0.1 },
      ...{ pooling: 'mean', head: 'linear', normalize: true, seed: 1, threads: 0, baseline: false },
    },
    { onProgress: () => {}, signal: new AbortController().signal },
  )
  return file
}

/** With the default penalty of scikit-learn, C = 1, on the same vectors as a head without a mask. */
async function logisticRegression({ backbone, tokenizer }: Model, train: string, test: string): Promise<number> {
  const { space: learned } = await loadTrainingData({ backbone, tokenizer }, dataOptions(train), () => {})
  const space: LabelSpace = { ...learned, unlearned: new UnlearnedLabels() }
  const load = async (path: string): Promise<Subset> =>
    wholeSet(await loadExampleSet(path, defaultColumns, space, tokenizer, {}, backbone.dims.vocabulary))
  const [fitted, judged] = [await load(train), await load(test)]
  const rates = { weights: 0, scores: 0, heads: 0 }
  const bare = new Trainer(backbone, undefined, [], {
    rates,
    density: 0.5,
    weightDecay: 0,
    pooling: 'mean',
    threads: 0,
  })
  const { loss } = problemTraits[space.problem]
  const H = backbone.dims.hiddenSize
  const heads = await LinearHeads.open(H, outputCount(space), loss, 0)
  try {
    const own = await labelledVectors(bare, space, fitted)
    // The penalty of LinearHeads is of scaled vectors.
    const head = await heads.fit(own, scalingOf(own.vectors, H).factor ** 2 / fitted.examples.length)
    const { logits } = await heads.evaluate(head, await labelledVectors(bare, space, judged))
    return scoreOf('accuracy', space, evaluationOf(logits, space, judged))
  } finally {
    await heads.release()
    await bare.release()
  }
}
