// From texts to predictions: loads the tasks, tokenises the texts, submits rows to the dispatcher and applies the heads. The
// cost of each step is known and bounded before it starts. One call uses one version of each task, even if a new version is
// uploaded meanwhile.

import type { Text, TextTokenizer } from '../backbones/tokenizer.js'
import { splitWords, type Word } from '../backbones/words.js'
import type { Gate } from '../costs/gate.js'
import { answerFactor } from '../costs/memory.js'
import type { Holding, Pool } from '../costs/pool.js'
import { exceeds } from '../costs/resources.js'
import type { SlicedWork } from '../costs/sliced-work.js'
import { bareMaskKey, type EngineRow } from '../engine/engine.js'
import type { Inference, InferenceOptions, Payer } from '../inference/inference.js'
import type { Owner } from '../owner.js'
import { Problem } from '../problem.js'
import type { Demand } from '../scheduler/admission.js'
import { finish } from '../steps.js'
import type { Decision } from './decisions.js'
import { charactersOf, checkInput, checkThreshold, type InputAndTask, type PredictionInput } from './inputs.js'
import { isSmall, type PredictionCost, sumOfCosts, tokensOfCost } from './prediction-costs.js'
import type { Prediction, PredictionOptions } from './predictions.js'
import { predictionCost, predictionInSteps, readsHidden } from './problems.js'
import type { Task } from './ready-tasks.js'
import type { Registry, UsedVersion } from './registry.js'
import type { TextCollector } from './text-collection.js'

/** Who a prediction is for: whose tasks it uses, and who is charged. */
export interface Account extends Payer {
  /** Throws if the owner has changed since the request arrived: a tenant can be deleted and created again. */
  readonly checkAgain: () => void
}

export interface PredictOptions extends PredictionOptions, InferenceOptions {
  readonly account: Account
  /** Whether texts that are longer than their task reads are cut. Otherwise they are rejected. */
  readonly truncate: boolean
  /** Under which the texts may be kept, if the owner of their task wants that. If undefined, they are not kept. */
  readonly requestId?: string
  /** Aborted when the client has disconnected. */
  readonly signal?: AbortSignal
}

export interface Predicted {
  readonly task: string
  /** Digest of the task file that made the prediction. */
  readonly version: string
  readonly prediction: Prediction
  /** Whether the end of the text was cut, because the text is longer than the task reads. */
  readonly truncated: boolean
}

/** An input that was predicted, and the digest of a candidate to compare the prediction with. */
export interface Shadowed {
  readonly input: PredictionInput
  readonly prediction: Prediction
  readonly candidate: string
}

/** Predictions, and the memory that is reserved for the response until it is sent. */
export interface Predictions {
  readonly predicted: readonly Predicted[]
  /** Inputs that a candidate is to predict, too. */
  readonly shadowed: readonly Shadowed[]
  /** An estimate, never too low. */
  readonly cost: PredictionCost
  readonly holding: Holding
}

/** Bounds of one request. */
export interface RequestLimits {
  /** Memory of its tasks, in bytes. */
  readonly maxTaskBytes: number
  /** Multiply-adds of the heads, for all texts. */
  readonly maxMultiplyAdds: number
  readonly maxAnswerBytes: number
}

export interface PredictorParts {
  readonly registry: Pick<Registry, 'use'>
  readonly tokenizer: TextTokenizer
  readonly inference: Inference
  readonly work: SlicedWork
  /** Size of a vector. */
  readonly hiddenSize: number
  /** Bounds the characters that are being tokenised. */
  readonly gate: Gate
  readonly answers: Pool
  readonly limits: RequestLimits
  readonly collector?: TextCollector
}

/** Usual texts have 3 to 6 characters per token. For longer tokens the estimate of their number is too high. */
const mostCharactersPerToken = 8

/** The fixed cost of tokenising a text, in characters. */
const charactersAround = 200
/** Most texts of a request that are tokenised together. */
const textsTogether = 32

interface ShadowedInput extends InputAndTask {
  readonly shadow?: string | undefined
}

interface EncodedInput extends InputAndTask {
  readonly inputIds: Int32Array
  readonly tokenTypeIds: Int32Array
  /** Empty unless the problem type reads hidden states. */
  readonly words: readonly Word[]
  readonly isCut: boolean
  readonly cost: PredictionCost
}

export class Predictor {
  constructor(readonly parts: PredictorParts) {}

  /**
   * Predictions in the order of the inputs. The caller releases `holding`.
   * @throws Problem `unknown_task`, `empty_text`, `text_too_long`, `text_pair_not_taken`, `text_pair_missing` with the index of
   *   the input; `threshold_not_taken`; `request_too_costly`, `answer_too_large`; `overloaded` if there is no memory for the tasks or
   *   the response; those of the account and of Inference.submit
   */
  async predict(inputs: readonly PredictionInput[], options: PredictOptions): Promise<Predictions> {
    const tasks = new Map<string, UsedVersion>()
    try {
      await this.#useTasks(inputs, options.account.owner, tasks)
      // Loading tasks takes time.
      options.account.checkAgain()
      const inputsAndTasks = inputs.map((input) => {
        const { task, shadow } = present(tasks.get(nameOf(input)))
        return { input, task, shadow }
      })
      const { tokenizer } = this.parts
      for (const [index, each] of inputsAndTasks.entries()) checkInput(each, index, tokenizer, options)
      if (options.threshold !== undefined) checkThreshold(tasks)
      // Reject before tokenising what is too costly even if each text has only one word.
      this.#checkCost(sumOfCosts(inputsAndTasks.map(({ task }) => this.#costOf(task, 1, options))))
      const demand = this.#leastDemand(inputsAndTasks)
      await this.#checkDemand(demand, options)
      return await this.#predictTexts(inputsAndTasks, demand, options)
    } finally {
      for (const { release } of tasks.values()) release()
    }
  }

  async #predictTexts(inputs: readonly ShadowedInput[], demand: Demand, options: PredictOptions): Promise<Predictions> {
    const { account, signal } = options
    const { owner } = account
    const texts = await this.#encodeAll(inputs, demand, options)
    const cost = sumOfCosts(texts.map((text) => text.cost))
    this.#checkCost(cost)
    const holding = this.parts.answers.take(owner, answerFactor * cost.bytes)
    try {
      const rows = texts.map((text) => ({
        task: text.input.task,
        row: engineRow(text),
        cost: text.inputIds.length + tokensOfCost(text.cost),
      }))
      const results = await this.parts.inference.submit(account, rows, options)
      const predicted: Predicted[] = []
      for (const [index, { input, task, words, isCut, cost }] of texts.entries()) {
        const keep = this.#keeperOf(input, task.file.digest, index, options)
        const predictionOptions = keep ? { ...options, onDecision: keep } : options
        const steps = predictionInSteps(
          task.file,
          { text: input.text, words },
          present(results[index]),
          predictionOptions,
        )
        const prediction = isSmall(cost) ? finish(steps) : await this.parts.work.run(owner, steps, signal)
        predicted.push({ task: input.task, version: task.file.digest, prediction, truncated: isCut })
      }
      return { predicted, shadowed: shadowedOf(inputs, predicted), cost, holding }
    } catch (error) {
      holding.release()
      throw error
    }
  }

  /** What keeps a text once its task has decided; undefined if it is not kept. */
  #keeperOf(
    input: PredictionInput,
    version: string,
    index: number,
    { account, requestId }: PredictOptions,
  ): ((decision: Decision) => void) | undefined {
    // A request for a certain version is a comparison.
    if (requestId === undefined || input.version !== undefined) return undefined
    const keep = this.parts.collector?.collects(account.owner, input.task)
    return keep && ((decision) => keep({ ...decision, ...textOf(input), version, requestId, index }))
  }

  async #useTasks(inputs: readonly PredictionInput[], owner: Owner, tasks: Map<string, UsedVersion>): Promise<void> {
    const { registry, limits } = this.parts
    let bytes = 0
    for (const input of inputs) {
      const name = nameOf(input)
      if (tasks.has(name)) continue
      const used = await registry.use(owner, input.task, input)
      tasks.set(name, used)
      bytes += used.task.bytes
      if (bytes > limits.maxTaskBytes && tasks.size > 1)
        throw exceeds('taskBytes', bytes, limits.maxTaskBytes, `the first ${tasks.size} tasks of the request`)
    }
  }

  /** Tokenises the texts in groups. Other requests can fill the queue meanwhile: then the request is rejected. */
  async #encodeAll(inputs: readonly InputAndTask[], demand: Demand, options: PredictOptions): Promise<EncodedInput[]> {
    const { gate } = this.parts
    const encoded: EncodedInput[] = []
    while (encoded.length < inputs.length) {
      const first = encoded.length
      const { texts, amount } = this.#nextTexts(inputs, first)
      const some = await gate.pass(
        options.account.owner,
        amount,
        async () => {
          await this.#checkDemand(demand, options)
          return Promise.all(texts.map((each, at) => this.#encode(each, first + at, options)))
        },
        options.signal,
      )
      encoded.push(...some)
    }
    return encoded
  }

  /** The next texts to tokenise together: as many as the gate admits at once for one owner. */
  #nextTexts(
    inputs: readonly InputAndTask[],
    first: number,
  ): { readonly texts: readonly InputAndTask[]; readonly amount: number } {
    const { tokenizer, gate } = this.parts
    let amount = 0
    let end = first
    for (const each of inputs.slice(first, first + textsTogether)) {
      const more = charactersAround + charactersOf(each, tokenizer)
      if (end > first && amount + more > gate.capacity / 2) break
      amount += more
      end++
    }
    return { texts: inputs.slice(first, end), amount }
  }

  async #encode({ input, task }: InputAndTask, index: number, options: PredictOptions): Promise<EncodedInput> {
    const { tokenizer } = this.parts
    const { file } = task
    const { inputIds, tokenTypeIds, fullLength, isCut, ...encoded } = await tokenizer.encode(input, file)
    const maxTokens = tokenizer.maxTokensOf(file)
    if (!options.truncate && fullLength > maxTokens)
      throw new Problem(
        'text_too_long',
        `inputs[${index}] has ${fullLength} tokens with special tokens; task "${input.task}" reads at most ${maxTokens}. Send a shorter text, or set truncate to true`,
        { input: index, tokens: fullLength, limit: maxTokens },
      )
    // Copies what is needed: the encoding holds much more, in memory that the garbage collector does not see.
    const hidden = readsHidden(file.problemType)
    const words = hidden ? splitWords(encoded.text, encoded.encoding, encoded.prefixLength, file.words) : []
    const cost = this.#costOf(task, hidden ? words.length : 1, options)
    return {
      input,
      task,
      inputIds: Int32Array.from(inputIds),
      tokenTypeIds: Int32Array.from(tokenTypeIds),
      words,
      isCut,
      cost,
    }
  }

  #checkDemand(demand: Demand, { account, deadline }: PredictOptions): void | Promise<void> {
    return this.parts.inference.check(account, demand, { deadline })
  }

  /** The least that the texts need. Rejecting them now is cheaper than tokenising them first. */
  #leastDemand(inputs: readonly InputAndTask[]): Demand {
    const { tokenizer } = this.parts
    const byTask = new Map<string, { tokens: number; cost: number }>()
    for (const each of inputs) {
      const { task } = each.input
      const least = Math.ceil(charactersOf(each, tokenizer) / mostCharactersPerToken)
      const tokens = Math.min(tokenizer.maxTokensOf(each.task.file), least) + (byTask.get(task)?.tokens ?? 0)
      byTask.set(task, { tokens, cost: tokens })
    }
    return { rows: inputs.length, byTask }
  }

  #costOf(task: Task, units: number, { topK }: PredictOptions): PredictionCost {
    return predictionCost(task, units, topK, this.parts.hiddenSize)
  }

  #checkCost({ multiplyAdds, bytes }: PredictionCost): void {
    const { maxMultiplyAdds, maxAnswerBytes } = this.parts.limits
    if (multiplyAdds > maxMultiplyAdds)
      throw exceeds('multiplyAdds', multiplyAdds, maxMultiplyAdds, 'the heads of the request')
    if (bytes > maxAnswerBytes) throw exceeds('answerBytes', bytes, maxAnswerBytes, 'the response')
  }
}

function engineRow({ task: { file, bitset }, inputIds, tokenTypeIds }: EncodedInput): EngineRow {
  return {
    inputIds,
    tokenTypeIds,
    pooling: file.pooling,
    ...(file.mask ? { maskKey: file.digest } : { maskKey: bareMaskKey, bare: true }),
    bitset: () => bitset,
    withHidden: readsHidden(file.problemType),
  }
}

/** A name for the version of a task that an input asks for. */
function nameOf({ task, version }: PredictionInput): string {
  if (version === undefined) return task
  return `${task} ${typeof version === 'number' ? version : version.digest}`
}

function shadowedOf(inputs: readonly ShadowedInput[], predicted: readonly Predicted[]): Shadowed[] {
  return inputs.flatMap(({ input, shadow }, index) =>
    shadow === undefined ? [] : [{ input, candidate: shadow, prediction: present(predicted[index]).prediction }],
  )
}

const textOf = ({ text, textPair }: PredictionInput): Text => ({ text, ...(textPair !== undefined && { textPair }) })

function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('an input has no task or no result')
  return value
}
