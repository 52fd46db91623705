// Texts of tasks to predictions: loads tasks, tokenises, hands rows to the dispatcher, and lets tasks answer. Before each of
// these its cost is known, and bounded. One call sees one version of each task, whatever is uploaded meanwhile.

import type { Text, TextTokenizer } from '../backbones/tokenizer.js'
import { splitWords, type Word } from '../backbones/words.js'
import type { Gate } from '../costs/gate.js'
import { answerFactor } from '../costs/memory.js'
import type { Holding, Pool } from '../costs/pool.js'
import { exceeds } from '../costs/resources.js'
import type { SlicedWork } from '../costs/sliced-work.js'
import type { EngineRow } from '../engine/engine.js'
import type { Owner } from '../owner.js'
import { Problem } from '../problem.js'
import { type Demand, oneToken } from '../scheduler/admission.js'
import type { Dispatcher } from '../scheduler/dispatcher.js'
import type { SubmitOptions } from '../scheduler/submission.js'
import { finish } from '../steps.js'
import { isSmall, type PredictionCost, predictionCost, sumOfCosts, tokensOfCost } from './prediction-costs.js'
import { inputsByProblemType, type Prediction, type PredictionOptions, predictionInSteps } from './predictions.js'
import type { Task, TaskInUse } from './ready-tasks.js'
import type { Registry } from './registry.js'

export interface PredictionInput extends Text {
  readonly task: string
}

/** For whom texts are predicted: whose tasks are asked, and what their rows count for. */
export interface Account {
  readonly owner: Owner
  /** Weight of its turns at the engine, against other owners'. */
  readonly share: number
  /** Takes the cost of an admitted request, in tokens, from the owner's rate. It throws to refuse the request. */
  readonly spend: (tokens: number) => void
  /** Gives back the cost of what was admitted and then not begun. */
  readonly giveBack: (tokens: number) => void
  /** Throws if the owner is no longer who it was when the request came: a tenant may have been removed and made again. */
  readonly checkAgain: () => void
}

export interface PredictOptions extends PredictionOptions, Pick<SubmitOptions, 'deadline'> {
  readonly account: Account
  /** Cut what is longer than the model takes; otherwise refuse it. */
  readonly truncate: boolean
  /** Aborted when nobody waits for the answer any more. */
  readonly signal?: AbortSignal
}

export interface Predicted {
  readonly task: string
  /** Digest of the task file that answered. */
  readonly version: string
  readonly prediction: Prediction
}

/** Predictions, and what they hold of the memory for answers until they are sent. */
export interface Predictions {
  readonly predicted: readonly Predicted[]
  /** Estimated; at least what the answer has. */
  readonly cost: PredictionCost
  readonly holding: Holding
}

/** What one request may cost. */
export interface RequestLimits {
  /** Of the tasks that it asks, in memory. */
  readonly maxTaskBytes: number
  /** Of its tasks' heads, for all its texts. */
  readonly maxMultiplyAdds: number
  readonly maxAnswerBytes: number
}

export interface PredictorParts {
  readonly registry: Pick<Registry, 'use'>
  readonly tokenizer: TextTokenizer
  readonly dispatcher: Dispatcher
  readonly work: SlicedWork
  /** Numbers of a vector. */
  readonly hiddenSize: number
  /** For characters of texts that are being tokenised. */
  readonly gate: Gate
  readonly answers: Pool
  readonly limits: RequestLimits
}

/** Texts have three to six characters a token. What has more than so many has fewer tokens than it is taken for. */
const mostCharactersPerToken = 8

/** To tokenise a text takes as long as for so many characters, however short it is. */
const charactersAround = 200
/** Texts of a request that are tokenised together at most. */
const textsTogether = 32

/** An input, the task that it asks, and its tokens. */
interface InputAndTask {
  readonly input: PredictionInput
  readonly task: Task
}

interface EncodedInput extends InputAndTask {
  readonly inputIds: Int32Array
  readonly tokenTypeIds: Int32Array
  /** For a task that reads hidden states. */
  readonly words: readonly Word[]
  readonly cost: PredictionCost
}

export class Predictor {
  constructor(readonly parts: PredictorParts) {}

  /**
   * Refuses what could not be answered in time, before it has been read.
   * @throws Problem `overloaded`, `deadline_exceeded`
   */
  check(task: string, { owner, share }: Pick<Account, 'owner' | 'share'>, deadline: number): void {
    this.parts.dispatcher.check({ tenant: owner, weight: share, deadline }, oneToken(task))
  }

  /**
   * Predictions in the order of the inputs. Whoever calls gives back what they hold.
   * @throws Problem `unknown_task`, `empty_text`, `text_too_long`, `text_pair_not_taken` with the index of the input;
   *   `threshold_not_taken`; `request_too_costly`, `answer_too_large`; `overloaded` if there is no memory for the tasks or
   *   the answer; whatever the account and the dispatcher throw
   */
  async predict(inputs: readonly PredictionInput[], options: PredictOptions): Promise<Predictions> {
    const tasks = new Map<string, TaskInUse>()
    try {
      await this.#useTasks(inputs, options.account.owner, tasks)
      // To load tasks takes time.
      options.account.checkAgain()
      const asked = inputs.map((input) => ({ input, task: present(tasks.get(input.task)).task }))
      for (const [index, each] of asked.entries()) this.#checkText(each, index, options)
      if (options.threshold !== undefined) checkThreshold(tasks)
      // What cannot be answered is refused before its texts are tokenised: they have at least one word each.
      this.#checkCost(sumOfCosts(asked.map(({ task }) => this.#costOf(task, 1, options))))
      const demand = this.#leastDemand(inputs)
      this.#checkDemand(demand, options)
      return await this.#predictTexts(asked, demand, options)
    } finally {
      for (const { release } of tasks.values()) release()
    }
  }

  async #predictTexts(asked: readonly InputAndTask[], demand: Demand, options: PredictOptions): Promise<Predictions> {
    const { account, deadline, signal } = options
    const { owner, share } = account
    const texts = await this.#encodeAll(asked, demand, options)
    const cost = sumOfCosts(texts.map((text) => text.cost))
    this.#checkCost(cost)
    const holding = this.parts.answers.take(owner, answerFactor * cost.bytes)
    try {
      const rows = texts.map((text) => ({
        task: text.input.task,
        row: engineRow(text),
        cost: text.inputIds.length + tokensOfCost(text.cost),
      }))
      const results = await this.parts.dispatcher.submit(rows, {
        tenant: owner,
        weight: share,
        deadline,
        ...(signal && { signal }),
        onAdmitted: () => account.spend(rows.reduce((sum, row) => sum + row.cost, 0)),
        onRefund: account.giveBack,
      })
      const predicted: Predicted[] = []
      for (const [index, { input, task, words, cost }] of texts.entries()) {
        const steps = predictionInSteps(task.file, { text: input.text, words }, present(results[index]), options)
        const prediction = isSmall(cost) ? finish(steps) : await this.parts.work.run(owner, steps, signal)
        predicted.push({ task: input.task, version: task.file.digest, prediction })
      }
      return { predicted, cost, holding }
    } catch (error) {
      holding.release()
      throw error
    }
  }

  async #useTasks(inputs: readonly PredictionInput[], owner: Owner, tasks: Map<string, TaskInUse>): Promise<void> {
    const { registry, limits } = this.parts
    let bytes = 0
    for (const { task: id } of inputs) {
      if (tasks.has(id)) continue
      const used = await registry.use(owner, id)
      tasks.set(id, used)
      bytes += used.task.bytes
      if (bytes > limits.maxTaskBytes && tasks.size > 1)
        throw exceeds('taskBytes', bytes, limits.maxTaskBytes, `the first ${tasks.size} tasks that the request names`)
    }
  }

  #checkText({ input, task }: InputAndTask, index: number, { truncate }: PredictOptions): void {
    const { problemType } = task.file
    const { maxCharacters } = this.parts.tokenizer
    for (const [name, value] of [['text', input.text] as const, ['text_pair', input.textPair] as const]) {
      if (value === undefined) continue
      if (isBlank(value.slice(0, maxCharacters)))
        throw new Problem('empty_text', `inputs[${index}]: ${name} is empty or blank`, { input: index, field: name })
      if (!truncate && value.length > maxCharacters)
        throw new Problem(
          'text_too_long',
          `inputs[${index}]: ${name} has ${value.length} characters; at most ${maxCharacters} are read`,
          { input: index, characters: value.length, limit: maxCharacters },
        )
    }
    if (input.textPair !== undefined && !inputsByProblemType[problemType].pairs)
      throw new Problem('text_pair_not_taken', `inputs[${index}]: a ${problemType} takes one text, not a pair`, {
        input: index,
      })
  }

  /** Tokenises the texts, some at a time. While they wait for that, others may fill the queue: then the rest is refused. */
  async #encodeAll(asked: readonly InputAndTask[], demand: Demand, options: PredictOptions): Promise<EncodedInput[]> {
    const { gate } = this.parts
    const read: EncodedInput[] = []
    while (read.length < asked.length) {
      const first = read.length
      const { texts, amount } = this.#nextTexts(asked, first)
      const some = await gate.pass(
        options.account.owner,
        amount,
        () => {
          this.#checkDemand(demand, options)
          return Promise.all(texts.map((each, at) => this.#encode(each, first + at, options)))
        },
        options.signal,
      )
      read.push(...some)
    }
    return read
  }

  /** Texts that are tokenised together: as many as the gate lets in at one time for an owner, and not too many. */
  #nextTexts(
    asked: readonly InputAndTask[],
    first: number,
  ): { readonly texts: readonly InputAndTask[]; readonly amount: number } {
    const { tokenizer, gate } = this.parts
    const charactersOf = (text: string) => Math.min(text.length, tokenizer.maxCharacters)
    let amount = 0
    let end = first
    for (; end < asked.length && end - first < textsTogether; end++) {
      const { text = '', textPair = '' } = asked[end]?.input ?? {}
      const more = charactersOf(text) + charactersOf(textPair) + charactersAround
      if (end > first && amount + more > gate.capacity / 2) break
      amount += more
    }
    return { texts: asked.slice(first, end), amount }
  }

  async #encode({ input, task }: InputAndTask, index: number, options: PredictOptions): Promise<EncodedInput> {
    const { tokenizer } = this.parts
    const { text, inputIds, tokenTypeIds, fullLength, encoding } = await tokenizer.encode(input)
    const { maxTokens } = tokenizer
    if (!options.truncate && fullLength > maxTokens)
      throw new Problem(
        'text_too_long',
        `inputs[${index}] has ${fullLength} tokens; the model takes ${maxTokens}, special tokens included`,
        { input: index, tokens: fullLength, limit: maxTokens },
      )
    // The encoding holds far more than is needed from here on, in memory that the garbage collector does not see.
    const { hidden } = inputsByProblemType[task.file.problemType]
    const words = hidden ? splitWords(text, encoding) : []
    const cost = this.#costOf(task, hidden ? words.length : 1, options)
    return {
      input,
      task,
      inputIds: Int32Array.from(inputIds),
      tokenTypeIds: Int32Array.from(tokenTypeIds),
      words,
      cost,
    }
  }

  #checkDemand(demand: Demand, { account, deadline }: PredictOptions): void {
    this.parts.dispatcher.check({ tenant: account.owner, weight: account.share, deadline }, demand)
  }

  /** What the texts need at least: to tokenise them only to refuse them would cost more than to refuse them now. */
  #leastDemand(inputs: readonly PredictionInput[]): Demand {
    const { maxTokens } = this.parts.tokenizer
    const byTask = new Map<string, { tokens: number; cost: number }>()
    for (const { task, text, textPair = '' } of inputs) {
      const least = Math.min(maxTokens, Math.ceil((text.length + textPair.length) / mostCharactersPerToken))
      const tokens = least + (byTask.get(task)?.tokens ?? 0)
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
    if (bytes > maxAnswerBytes) throw exceeds('answerBytes', bytes, maxAnswerBytes, 'the answer')
  }
}

const isBlank = (text: string): boolean => !/\S/.test(text)

/** Beside a multi-label task others may be asked: as with top_k, an option is for those that it says something to. */
function checkThreshold(tasks: ReadonlyMap<string, TaskInUse>): void {
  const types = Array.from(tasks, ([id, { task }]) => ({ id, type: task.file.problemType }))
  if (types.some(({ type }) => type === 'multi_label_classification')) return
  throw new Problem(
    'threshold_not_taken',
    'threshold is given, but no task that is asked is a multi_label_classification: ' +
      types.map(({ id, type }) => `"${id}" is a ${type}`).join(', '),
  )
}

function engineRow({ task: { file, bitset }, inputIds, tokenTypeIds }: EncodedInput): EngineRow {
  return {
    inputIds,
    tokenTypeIds,
    pooling: file.pooling,
    maskKey: file.digest,
    bitset: () => bitset,
    withHidden: inputsByProblemType[file.problemType].hidden,
  }
}

function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('an input has no task or no result')
  return value
}
