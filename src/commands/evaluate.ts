// `propetl evaluate`: scores a task on labelled examples, from its file or on a server. A file runs through the same code
// as in a server, so that both give the same score.

import type { Text } from '../backbones/tokenizer.js'
import { Gate } from '../costs/gate.js'
import { Pool } from '../costs/pool.js'
import { SlicedWork } from '../costs/sliced-work.js'
import { type Columns, columnsFor } from '../data/columns.js'
import { type Example, type OnReading, readExamples } from '../data/examples.js'
import { checkDataFile, isDataFileName } from '../data/file-rows.js'
import { type LabelSpace, outputCount } from '../data/label-space.js'
import { UnlearnedLabels } from '../data/unlearned-labels.js'
import { Engine } from '../engine/engine.js'
import { confidenceInterval, type Evaluation, metricFor, scoreOf } from '../learn/evaluation.js'
import { GrowingArray } from '../learn/growing-array.js'
import { loadModel, loadPrototypeFor, loadTaskFile } from '../learn/model.js'
import { noClass, problemTraits } from '../learn/problem-traits.js'
import { Random } from '../learn/random.js'
import { outputsOfPredictions, type ServedPrediction, textsToPredict } from '../learn/served-predictions.js'
import { maxRunTokens } from '../learn/trainer.js'
import { modelOf } from '../petl/combining.js'
import { type ProblemType, problemTypes } from '../petl/task.js'
import { Problem, reasonOf } from '../problem.js'
import type { Numerics } from '../runtime/execution-providers.js'
import { CostModel } from '../scheduler/cost.js'
import { Dispatcher } from '../scheduler/dispatcher.js'
import { finish } from '../steps.js'
import { Predictor } from '../tasks/predictor.js'
import { taskInSteps } from '../tasks/ready-tasks.js'
import { operator } from '../tenants/tenant.js'
import { findModelFiles } from './model-directory.js'
import { ProgressLine } from './progress-line.js'
import { columnsOf, type DataFlags } from './training-options.js'

/** The API key comes from the environment, because other users of the machine can see command lines. */
const keyVariable = 'PROPETL_KEY'

export interface EvaluateFlags extends DataFlags {
  readonly numerics: Numerics
  readonly json?: boolean
}

/** A task from a file or on a server. */
interface EvaluatedTask {
  readonly space: LabelSpace
  /** Most texts of one call of `predict`. */
  readonly maxTexts: number
  readonly predict: (texts: readonly Text[]) => Promise<readonly ServedPrediction[]>
  readonly close: () => Promise<void>
}

/**
 * @param task a task file, or the URL of a task on a server: http://host:8080/tasks/reviews
 * @returns the text to print
 * @throws Problem
 */
export async function evaluate(task: string, path: string, flags: EvaluateFlags): Promise<string> {
  const line = new ProgressLine(process.stderr)
  if (isDataFileName(task))
    throw new Problem(
      'invalid_setting',
      `${task} is a data file; expected first a task file or the URL of a task, then the data file`,
    )
  await checkDataFile(path)
  const opened = /^https?:\/\//.test(task) ? await openServerTask(task) : await openTaskFile(task, flags)
  const unlearned = new UnlearnedLabels()
  const space: LabelSpace = { ...opened.space, unlearned }
  const evaluated = { ...opened, space }
  try {
    const metric = metricFor(space, flags.metric)
    const evaluation = await predictAll(
      evaluated,
      path,
      columnsOf(flags),
      (what) => line.print(`warning: ${what}`),
      (file, rows) => line.reading(file, rows),
    )
    if (unlearned.warning) line.print(`warning: ${unlearned.warning}`)
    line.end()
    const rows = evaluation.starts.length - 1
    if (rows === 0) throw new Problem('invalid_data', `${path}: the file has no examples`)
    const score = scoreOf(metric, space, evaluation)
    const interval = confidenceInterval(metric, space, evaluation, new Random(flags.seed, 'interval'))
    if (flags.json) return JSON.stringify({ task, data: path, rows, metric, score, interval })
    const [low, high] = interval.map((value) => value.toFixed(4))
    return `${metric} ${score.toFixed(4)} on ${rows} examples; 95 % confidence interval ${low} to ${high}`
  } finally {
    await opened.close()
  }
}

async function predictAll(
  { space, maxTexts, predict }: EvaluatedTask,
  path: string,
  columns: Columns,
  onWarning: (what: string) => void,
  onReading: OnReading,
): Promise<Evaluation> {
  const traits = problemTraits[space.problem]
  const outputs = new GrowingArray(new Float32Array())
  const actual = new GrowingArray(new Float32Array())
  const starts = new GrowingArray(Int32Array.of(0))
  const width = traits.width(space)
  let pending: { readonly example: Example; readonly texts: readonly Text[] }[] = []
  const flush = async () => {
    const predicted = await predict(pending.flatMap(({ texts }) => texts))
    let first = 0
    for (const { example, texts } of pending) {
      outputs.append(outputsOfPredictions(space, example, predicted.slice(first, first + texts.length)))
      actual.append(traits.targets(space, example))
      const labels = actual.length / width
      if (outputs.length !== labels * outputCount(space))
        throw new Problem('server_failed', `the prediction for ${example.place} does not have the scores of all labels`)
      starts.append([labels])
      first += texts.length
    }
    pending = []
  }
  for await (const example of readExamples(path, columnsFor(space.problem, columns), { onWarning, onReading })) {
    const texts = textsToPredict(space, example)
    if ((pending.length + 1) * texts.length > maxTexts) await flush()
    pending.push({ example, texts })
  }
  if (pending.length > 0) await flush()
  const predictions = traits.predictions(space, outputs.view())
  const missing = predictions.reduce((count, value) => count + (value === noClass ? 1 : 0), 0)
  if (traits.unit === 'word' && missing > 0)
    onWarning(`${path}: ${missing} words have no prediction; they count as wrong`)
  return { predictions, actual: actual.view(), starts: starts.view() }
}

async function openTaskFile(path: string, flags: EvaluateFlags): Promise<EvaluatedTask> {
  const files = await findModelFiles(flags, true)
  const { backbone, tokenizer } = await loadModel(files.directory, flags.maxLength)
  const prototype = await loadPrototypeFor(backbone, files.prototype)
  const file = await loadTaskFile(path, prototype)
  const engine = await Engine.start({
    backbone,
    prototype,
    provider: 'cpu',
    numerics: flags.numerics,
    slots: 1,
    threads: flags.threads,
  })
  const maxTexts = 512
  const dispatcher = new Dispatcher(
    [{ available: true, run: (rows) => engine.run(rows) }],
    { maxTokens: maxRunTokens.cpu, maxMasks: 1, maxQueueRows: maxTexts },
    new CostModel(engine.timings),
  )
  const task = finish(taskInSteps(file, modelOf(prototype)))
  // There are no other callers, so only the texts that are tokenised at the same time are limited.
  const unlimited = Number.POSITIVE_INFINITY
  const predictor = new Predictor({
    registry: { use: async () => ({ task, release: () => {} }) },
    tokenizer,
    dispatcher,
    work: new SlicedWork(),
    hiddenSize: prototype.hiddenSize,
    gate: new Gate(64 * tokenizer.maxCharacters),
    answers: new Pool('answers', unlimited),
    limits: { maxTaskBytes: unlimited, maxMultiplyAdds: unlimited, maxAnswerBytes: unlimited },
  })
  const { problemType: problem, labels } = file
  const threshold = file.problemType === 'multi_label_classification' ? { threshold: file.threshold } : {}
  return {
    space: { problem, labels, ...threshold },
    maxTexts,
    predict: async (texts) => {
      const inputs = texts.map((text) => ({ ...text, task: path }))
      const options = {
        account: { owner: operator, share: 1, spend: () => {}, giveBack: () => {}, checkAgain: () => {} },
        rawScores: true,
        truncate: true,
        deadline: Number.POSITIVE_INFINITY,
      }
      const { predicted, holding } = await predictor.predict(inputs, options)
      holding.release()
      return predicted.map(({ prediction }) => prediction)
    },
    close: () => engine.close(),
  }
}

async function openServerTask(url: string): Promise<EvaluatedTask> {
  if (!URL.canParse(url))
    throw new Problem(
      'invalid_setting',
      `${url} is not a valid URL; expected one like http://localhost:8080/tasks/reviews`,
    )
  const address = url.replace(/\/$/, '')
  const description = (await fetchJson(address)) as { problem_type: ProblemType; labels: string[]; threshold?: number }
  const { problem_type: problem, labels, threshold } = description
  if (!problemTypes.includes(problem))
    throw new Problem(
      'server_failed',
      `${address} is not a task; expected a URL like http://localhost:8080/tasks/reviews`,
    )
  return {
    space: { problem, labels, ...(threshold !== undefined && { threshold }) },
    maxTexts: 32,
    predict: async (texts) => {
      const inputs = texts.map(({ text, textPair }) => ({
        text,
        ...(textPair !== undefined && { text_pair: textPair }),
      }))
      const response = await fetchJson(`${address}/predict`, { inputs, raw_scores: true })
      return (response as { predictions: ServedPrediction[] }).predictions
    },
    close: async () => {},
  }
}

/** @throws Problem `server_failed` */
async function fetchJson(address: string, body?: unknown): Promise<unknown> {
  const key = process.env[keyVariable]
  const headers: Record<string, string> = key === undefined ? {} : { authorization: `Bearer ${key}` }
  const response = await fetch(
    address,
    body === undefined
      ? { headers }
      : { method: 'POST', headers: { ...headers, 'content-type': 'application/json' }, body: JSON.stringify(body) },
  ).catch((error: Error) => {
    throw new Problem(
      'server_failed',
      `no server responds at ${address}: ${reasonOf(error.cause ?? error)}. Check the address and that the server is running.`,
    )
  })
  const text = await response.text()
  if (response.status === 401)
    throw new Problem(
      'server_failed',
      key === undefined
        ? `${address} requires an API key; set it in the environment variable ${keyVariable}`
        : `${address} rejects the API key in the environment variable ${keyVariable}: it is unknown, expired or revoked`,
    )
  if (!response.ok)
    throw new Problem('server_failed', `${address} responded with ${response.status}: ${detailOf(text)}`)
  try {
    return JSON.parse(text)
  } catch {
    throw new Problem(
      'server_failed',
      `${address} did not respond with JSON; expected a URL like http://localhost:8080/tasks/reviews`,
    )
  }
}

/** The detail of an error response of a propetl server, or the beginning of any other response. */
function detailOf(text: string): string {
  try {
    const { detail } = JSON.parse(text) as { detail?: unknown }
    if (typeof detail === 'string') return detail
  } catch {
    // The response is not JSON.
  }
  return text.slice(0, 300)
}
