// A task file that runs in this process, through the same code as in a server, so that both give the same predictions.

import { Gate } from '../costs/gate.js'
import { Pool } from '../costs/pool.js'
import { SlicedWork } from '../costs/sliced-work.js'
import { outputCount } from '../data/label-space.js'
import { Engine } from '../engine/engine.js'
import { LocalInference } from '../inference/local-inference.js'
import { loadModel, loadPrototypeFor, loadTaskFile } from '../learn/model.js'
import { servedModel } from '../petl/combining.js'
import { takesPairs } from '../petl/problem-files.js'
import type { Numerics } from '../runtime/numerics.js'
import { hostProvider, maxRunTokens } from '../runtime/providers.js'
import { CostModel } from '../scheduler/cost.js'
import { Dispatcher } from '../scheduler/dispatcher.js'
import { finish } from '../steps.js'
import { Predictor } from '../tasks/predictor.js'
import { taskInSteps } from '../tasks/ready-tasks.js'
import { Rates } from '../tenants/rates.js'
import { operator } from '../tenants/tenant.js'
import type { OpenedTask } from './opened-task.js'

export interface LocalTaskOptions {
  /** Hugging Face directory of the backbone, and the prototype file if there is one. */
  readonly directory: string
  readonly prototype: string | undefined
  readonly maxLength?: number
  readonly numerics: Numerics
  readonly threads: number
}

/** Most scores of labels in the predictions of one call, which bounds their memory. */
const mostScores = 1_000_000

/** @throws Problem */
export async function openTaskFile(path: string, options: LocalTaskOptions): Promise<OpenedTask> {
  const { backbone, tokenizer } = await loadModel(options.directory, options.maxLength)
  const prototype = options.prototype === undefined ? undefined : await loadPrototypeFor(backbone, options.prototype)
  const model = servedModel(backbone, prototype)
  const file = await loadTaskFile(path, model)
  const engine = await Engine.start({
    backbone,
    prototype,
    provider: hostProvider,
    numerics: options.numerics,
    slots: 1,
    threads: options.threads,
  })
  const dispatcher = new Dispatcher(
    [{ available: true, run: (rows) => engine.run(rows) }],
    { maxTokens: maxRunTokens(), maxMasks: 1, maxQueueRows: Number.POSITIVE_INFINITY },
    new CostModel(engine.timings),
  )
  const task = finish(taskInSteps(file, model))
  // There are no other callers, so only the texts that are tokenised at the same time are limited.
  const unlimited = Number.POSITIVE_INFINITY
  const predictor = new Predictor({
    registry: { use: async () => ({ task, release: () => {} }) },
    tokenizer,
    inference: new LocalInference({ dispatcher: () => dispatcher, rates: new Rates() }),
    work: new SlicedWork(),
    hiddenSize: model.hiddenSize,
    gate: new Gate(64 * tokenizer.maxCharacters),
    answers: new Pool('answers', unlimited),
    limits: { maxTaskBytes: unlimited, maxMultiplyAdds: unlimited, maxAnswerBytes: unlimited },
  })
  const { problemType: problem, labels } = file
  return {
    space: { problem, labels, ...('thresholds' in file && { thresholds: file.thresholds }) },
    takesPairs: takesPairs(problem) && file.inputs !== 'text',
    metrics: file.metrics ?? {},
    maxTexts: Math.max(1, Math.min(256, Math.floor(mostScores / outputCount({ problem, labels })))),
    maxCharacters: unlimited,
    // One call is tokenised while the other is computed.
    concurrency: 2,
    predict: async (texts, scores, signal) => {
      const inputs = texts.map((text) => ({ ...text, task: path }))
      const { predicted, holding } = await predictor.predict(inputs, {
        ...scores,
        account: { owner: operator, checkAgain: () => {} },
        truncate: true,
        deadline: unlimited,
        ...(signal && { signal }),
      })
      holding.release()
      return predicted.map(({ prediction }) => prediction)
    },
    close: () => engine.close(),
  }
}
