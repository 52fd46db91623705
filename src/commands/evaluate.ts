// `propetl evaluate`: how good a task is on labelled rows, from its file or from a server that runs it. A file is run by
// the way that a server takes, so that both give the same score.

import type { Text } from '../backbones/tokenizer.js'
import { Gate } from '../costs/gate.js'
import { Pool } from '../costs/pool.js'
import { SlicedWork } from '../costs/sliced-work.js'
import { Engine } from '../engine/engine.js'
import { confidenceInterval, type Evaluation, metricFor, scoreOf } from '../learn/evaluation.js'
import { type Columns, type Example, type OnReading, readExamples } from '../learn/examples.js'
import { GrowingArray } from '../learn/growing-array.js'
import { type LabelSpace, outputCount } from '../learn/label-space.js'
import { loadModel, loadPrototypeFor, loadTaskFile } from '../learn/model.js'
import { columnsFor, noClass, problemTraits } from '../learn/problem-traits.js'
import { Random } from '../learn/random.js'
import { outputsOfPredictions, type ServedPrediction, textsToPredict } from '../learn/served-predictions.js'
import { maxRunTokens } from '../learn/trainer.js'
import { type ProblemType, problemTypes } from '../petl/task.js'
import { Problem } from '../problem.js'
import type { Numerics } from '../runtime/execution-providers.js'
import { CostModel } from '../scheduler/cost.js'
import { Dispatcher } from '../scheduler/dispatcher.js'
import { finish } from '../steps.js'
import { Predictor } from '../tasks/predictor.js'
import { taskInSteps } from '../tasks/ready-tasks.js'
import { operator } from '../tenants/tenant.js'
import { ProgressLine } from './progress-line.js'
import { columnsOf, type DataFlags } from './training-options.js'

/** A server's key: not a flag, for command lines are for everybody on the machine to see. */
const keyVariable = 'PROPETL_KEY'

export interface EvaluateFlags extends DataFlags {
  readonly numerics: Numerics
  readonly json?: boolean
}

/** A task that answers. */
interface EvaluatedTask {
  readonly space: LabelSpace
  /** Texts that it is asked about at once. */
  readonly maxTexts: number
  readonly predict: (texts: readonly Text[]) => Promise<readonly ServedPrediction[]>
  readonly close: () => Promise<void>
}

/**
 * @param task a task file, or the address of a task on a server: http://host:8080/tasks/reviews
 * @returns what to print
 * @throws Problem
 */
export async function evaluate(task: string, path: string, flags: EvaluateFlags): Promise<string> {
  const line = new ProgressLine(process.stderr)
  const respondent = /^https?:\/\//.test(task)
    ? await openServerTask(task.replace(/\/$/, ''))
    : await openTaskFile(task, flags)
  const { space } = respondent
  try {
    const metric = metricFor(space, flags.metric)
    const judged = await predictAll(
      respondent,
      path,
      columnsOf(flags),
      (what) => line.print(`warning: ${what}`),
      (file, rows) => line.reading(file, rows),
    )
    line.end()
    const rows = judged.starts.length - 1
    if (rows === 0) throw new Problem('invalid_data', `${path}: there are no rows`)
    const score = scoreOf(metric, space, judged)
    const interval = confidenceInterval(metric, space, judged, new Random(flags.seed, 'interval'))
    if (flags.json) return JSON.stringify({ task, data: path, rows, metric, score, interval })
    const [low, high] = interval.map((value) => value.toFixed(4))
    return `${metric} ${score.toFixed(4)} on ${rows} rows; 95 % confidence interval ${low} to ${high}`
  } finally {
    await respondent.close()
  }
}

async function predictAll(
  { space, maxTexts: textsTogether, predict: ask }: EvaluatedTask,
  path: string,
  columns: Columns,
  onWarning: (what: string) => void,
  onReading: OnReading,
): Promise<Evaluation> {
  const kind = problemTraits[space.problem]
  const outputs = new GrowingArray(new Float32Array())
  const actual = new GrowingArray(new Float32Array())
  const starts = new GrowingArray(Int32Array.of(0))
  const width = kind.width(space)
  let waiting: { readonly example: Example; readonly texts: readonly Text[] }[] = []
  const flush = async () => {
    const answers = await ask(waiting.flatMap(({ texts }) => texts))
    let first = 0
    for (const { example, texts } of waiting) {
      outputs.append(outputsOfPredictions(space, example, answers.slice(first, first + texts.length)))
      actual.append(kind.targets(space, example))
      const units = actual.length / width
      if (outputs.length !== units * outputCount(space))
        throw new Problem('server_failed', `the answer to ${example.place} does not have the scores of all labels`)
      starts.append([units])
      first += texts.length
    }
    waiting = []
  }
  for await (const example of readExamples(path, columnsFor(space.problem, columns), onWarning, onReading)) {
    const texts = textsToPredict(space, example)
    if ((waiting.length + 1) * texts.length > textsTogether) await flush()
    waiting.push({ example, texts })
  }
  if (waiting.length > 0) await flush()
  const predictions = kind.predictions(space, outputs.view())
  const missing = predictions.reduce((count, value) => count + (value === noClass ? 1 : 0), 0)
  if (kind.unit === 'word' && missing > 0)
    onWarning(`${path}: ${missing} words are not among those answered; they count as not found`)
  return { predictions, actual: actual.view(), starts: starts.view() }
}

async function openTaskFile(path: string, flags: EvaluateFlags): Promise<EvaluatedTask> {
  const { backbone, tokenizer } = await loadModel(flags.modelDir, flags.maxLength)
  const prototype = await loadPrototypeFor(backbone)
  const file = await loadTaskFile(path, prototype)
  const engine = await Engine.start({
    backbone,
    prototype,
    provider: 'cpu',
    numerics: flags.numerics,
    slots: 1,
    threads: flags.threads,
  })
  const textsTogether = 512
  const dispatcher = new Dispatcher(
    [{ available: true, run: (rows) => engine.run(rows) }],
    { maxTokens: maxRunTokens.cpu, maxMasks: 1, maxQueueRows: textsTogether },
    new CostModel(engine.timings),
  )
  const task = finish(taskInSteps(file, prototype))
  // Nobody else is served, so that nothing but the texts that are tokenised at one time is bounded.
  const most = Number.POSITIVE_INFINITY
  const predictor = new Predictor({
    registry: { use: async () => ({ task, release: () => {} }) },
    tokenizer,
    dispatcher,
    work: new SlicedWork(),
    hiddenSize: prototype.hiddenSize,
    gate: new Gate(64 * tokenizer.maxCharacters),
    answers: new Pool('answers', most),
    limits: { maxTaskBytes: most, maxMultiplyAdds: most, maxAnswerBytes: most },
  })
  const { problemType: problem, labels } = file
  const threshold = file.problemType === 'multi_label_classification' ? { threshold: file.threshold } : {}
  return {
    space: { problem, labels, ...threshold },
    maxTexts: textsTogether,
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

async function openServerTask(address: string): Promise<EvaluatedTask> {
  const description = (await fetchJson(address)) as { problem_type: ProblemType; labels: string[]; threshold?: number }
  const { problem_type: problem, labels, threshold } = description
  if (!problemTypes.includes(problem))
    throw new Problem(
      'server_failed',
      `${address} describes no task; expected an address like http://host:8080/tasks/reviews`,
    )
  return {
    space: { problem, labels, ...(threshold !== undefined && { threshold }) },
    maxTexts: 32,
    predict: async (texts) => {
      const inputs = texts.map(({ text, textPair }) => ({
        text,
        ...(textPair !== undefined && { text_pair: textPair }),
      }))
      const answer = await fetchJson(`${address}/predict`, { inputs, raw_scores: true })
      return (answer as { predictions: ServedPrediction[] }).predictions
    },
    close: async () => {},
  }
}

async function fetchJson(address: string, body?: unknown): Promise<unknown> {
  const key = process.env[keyVariable]
  const headers: Record<string, string> = key === undefined ? {} : { authorization: `Bearer ${key}` }
  const response = await fetch(
    address,
    body === undefined
      ? { headers }
      : { method: 'POST', headers: { ...headers, 'content-type': 'application/json' }, body: JSON.stringify(body) },
  ).catch((error: Error) => {
    throw new Problem('server_failed', `${address} does not answer: ${String(error.cause ?? error.message)}`)
  })
  const text = await response.text()
  if (response.status === 401)
    throw new Problem(
      'server_failed',
      `${address} asks for a key; expected one in the environment variable ${keyVariable}`,
    )
  if (!response.ok) throw new Problem('server_failed', `${address} answered ${response.status}: ${text.slice(0, 300)}`)
  try {
    return JSON.parse(text)
  } catch {
    throw new Problem('server_failed', `${address} did not answer with JSON`)
  }
}
