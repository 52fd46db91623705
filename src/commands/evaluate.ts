// `propetl evaluate`: how good a task is on labelled rows, from its file or from a server that runs it.

import type { Backbone } from '../backbones/backbone.js'
import { Engine } from '../engine/engine.js'
import type { TaskFile } from '../formats/task-file.js'
import { batchesByTokens } from '../learn/batches.js'
import { type DataSet, loadDataSet, wholeOf } from '../learn/data-set.js'
import { confidenceInterval, metricFor, predictionsOf, scoreOf } from '../learn/evaluation.js'
import { type Example, type OnReading, readExamples } from '../learn/examples.js'
import { type LabelSpace, outputsOf, targetWidth, writeTarget } from '../learn/labels.js'
import { tokensTogether } from '../learn/learner.js'
import type { Metric } from '../learn/metrics.js'
import { loadModel, loadPrototypeOf, loadTask } from '../learn/model.js'
import { Random } from '../learn/random.js'
import { effectiveBitset } from '../petl/combining.js'
import type { Prototype } from '../petl/prototype.js'
import { Problem } from '../problem.js'
import { logitsOf } from '../tasks/heads.js'
import { columnsOf, type DataFlags } from './learning-options.js'
import { ProgressLine } from './progress-line.js'

export interface EvaluateFlags extends DataFlags {
  readonly json?: boolean
}

interface Outputs {
  readonly space: LabelSpace
  readonly metric: Metric
  readonly rows: number
  /** [rows, C] */
  readonly logits: Float32Array
  /** [rows, targetWidth] */
  readonly targets: Float32Array
}

/**
 * @param task a task file, or the address of a task on a server: http://host:8080/tasks/reviews
 * @returns what to print
 * @throws Problem
 */
export async function evaluate(task: string, path: string, flags: EvaluateFlags): Promise<string> {
  const line = new ProgressLine(process.stderr)
  const watch = {
    onLeftOut: (what: string) => line.say(`warning: ${what}`),
    onReading: (file: string, rows: number) => line.reading(file, rows),
    onRun: (done: number, all: number) => line.rows('evaluating', done, all),
  }
  const { space, metric, rows, logits, targets } = /^https?:\/\//.test(task)
    ? await fromServer(task.replace(/\/$/, ''), path, flags, watch)
    : await fromFile(task, path, flags, watch)
  line.end()
  if (rows === 0) throw new Problem('invalid_data', `${path}: there are no rows`)
  const predictions = predictionsOf(space, logits)
  const score = scoreOf(metric, space, predictions, targets)
  const interval = confidenceInterval(metric, space, predictions, targets, rows, new Random(flags.seed, 'interval'))
  if (flags.json) return JSON.stringify({ task, data: path, rows, metric, score, interval })
  const [low, high] = interval.map((value) => value.toFixed(4))
  return `${metric} ${score.toFixed(4)} on ${rows} rows; 95 % confidence interval ${low} to ${high}`
}

interface Watch {
  readonly onLeftOut: (what: string) => void
  readonly onReading: OnReading
  readonly onRun: (done: number, all: number) => void
}

async function fromFile(
  taskPath: string,
  path: string,
  flags: EvaluateFlags,
  { onLeftOut, onReading, onRun }: Watch,
): Promise<Outputs> {
  const model = await loadModel(flags.modelDir, flags.maxLength)
  const prototype = await loadPrototypeOf(model.backbone)
  const task = await loadTask(taskPath, prototype)
  const space = spaceOf(task.problemType, task.labels)
  const metric = metricFor(space, flags.metric)
  const { tokenizer, backbone } = model
  const { vocab_size } = backbone.config
  const data = await loadDataSet(path, columnsOf(flags), space, tokenizer, vocab_size, onLeftOut, onReading)
  const logits = await runTask(backbone, prototype, task, data, flags.threads, onRun)
  return { space, metric, rows: data.tokens.rows, logits, targets: data.targets }
}

function spaceOf(problem: TaskFile['problemType'], labels: readonly string[]): LabelSpace {
  if (problem === 'token_classification' || problem === 'feature_extraction')
    throw new Problem('invalid_setting', `a ${problem} has no label for each text; expected a task that has`)
  return { problem, labels }
}

/** Head outputs [rows, C] by the way that a server takes. */
async function runTask(
  backbone: Backbone,
  prototype: Prototype,
  task: TaskFile,
  data: DataSet,
  threads: number,
  onRun: Watch['onRun'],
): Promise<Float32Array> {
  const bitset = effectiveBitset(task, prototype)
  const engine = await Engine.start({ backbone, prototype, provider: 'cpu', slots: 1, threads })
  const { head } = task
  if (head === undefined) throw new Error('a task without a head has no outputs')
  const C = head.output.outputs
  const logits = new Float32Array(data.tokens.rows * C)
  let done = 0
  try {
    for (const batch of batchesByTokens(wholeOf(data), tokensTogether)) {
      const rows = Array.from(batch, (row) => ({
        ...data.tokens.span(row),
        pooling: task.pooling,
        maskKey: task.digest,
        bitset: () => bitset,
        withHidden: false,
      }))
      const { rows: results } = await engine.run(rows)
      for (const [at, { pooled }] of results.entries()) logits.set(logitsOf(head, pooled), (batch[at] ?? 0) * C)
      done += batch.length
      onRun(done, data.tokens.rows)
    }
  } finally {
    await engine.close()
  }
  return logits
}

/** Texts of one request. */
const textsTogether = 32

async function fromServer(
  address: string,
  path: string,
  flags: EvaluateFlags,
  { onLeftOut, onReading }: Watch,
): Promise<Outputs> {
  const description = (await ask(address)) as { problem_type: TaskFile['problemType']; labels: string[] }
  const space = spaceOf(description.problem_type, description.labels)
  const metric = metricFor(space, flags.metric)
  const logits: number[] = []
  const targets: number[] = []
  const target = new Float32Array(targetWidth(space))
  let waiting: Example[] = []
  const flush = async () => {
    if (waiting.length === 0) return
    const inputs = waiting.map(({ text, textPair }) => ({
      text,
      ...(textPair !== undefined && { text_pair: textPair }),
    }))
    const answer = (await ask(`${address}/predict`, { inputs, raw_scores: true })) as { predictions: Answered[] }
    for (const { score, scores } of answer.predictions) {
      if (space.problem === 'regression') logits.push(score)
      else for (const { score } of scores ?? []) logits.push(score)
    }
    waiting = []
  }
  for await (const example of readExamples(path, columnsOf(flags), onLeftOut, onReading)) {
    writeTarget(space, example, target)
    targets.push(...target)
    waiting.push(example)
    if (waiting.length === textsTogether) await flush()
  }
  await flush()
  const rows = logits.length / outputsOf(space)
  return { space, metric, rows, logits: Float32Array.from(logits), targets: Float32Array.from(targets) }
}

interface Answered {
  readonly score: number
  readonly scores?: readonly { readonly score: number }[]
}

async function ask(address: string, body?: unknown): Promise<unknown> {
  const response = await fetch(
    address,
    body === undefined
      ? {}
      : { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) },
  ).catch((error: Error) => {
    throw new Problem('server_failed', `${address} does not answer: ${String(error.cause ?? error.message)}`)
  })
  const text = await response.text()
  if (!response.ok) throw new Problem('server_failed', `${address} answered ${response.status}: ${text.slice(0, 300)}`)
  try {
    return JSON.parse(text)
  } catch {
    throw new Problem('server_failed', `${address} did not answer with JSON`)
  }
}
