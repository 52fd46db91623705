// Texts of tasks to predictions: tokenises, hands rows to the dispatcher, lets tasks answer. One call sees one version of
// each task, whatever is uploaded meanwhile.

import type { EncodedText, Text, TextTokenizer } from '../backbones/tokenizer.js'
import type { EngineRow } from '../engine/engine.js'
import { Problem } from '../problem.js'
import type { Dispatcher, Order } from '../scheduler/dispatcher.js'
import type { Owner } from '../tenants/tenant.js'
import { type AnswerOptions, answerOf, type Prediction, readings } from './answers.js'
import type { Registry, Task } from './registry.js'

export interface PredictionInput extends Text {
  readonly task: string
}

/** For whom texts are predicted: whose tasks are asked, and what their rows count for. */
export interface Account {
  readonly owner: Owner
  /** Weight of its turns at the engine, against other owners'. */
  readonly share: number
  /** Told the tokens of a request's texts before they wait for the engine; it throws to refuse them. */
  readonly spend: (tokens: number) => void
}

export interface PredictOptions extends AnswerOptions, Pick<Order, 'deadline' | 'signal'> {
  readonly account: Account
  /** Cut what is longer than the model takes; otherwise refuse it. */
  readonly truncate: boolean
}

export interface Predicted {
  readonly task: string
  /** Digest of the task file that answered. */
  readonly version: string
  readonly prediction: Prediction
}

export class Predictor {
  constructor(
    readonly registry: Pick<Registry, 'get'>,
    readonly tokenizer: TextTokenizer,
    readonly dispatcher: Dispatcher,
  ) {}

  /**
   * Refuses what could not be answered in time, before it has been read.
   * @throws Problem `overloaded`, `deadline_exceeded`
   */
  check(task: string, { owner, share }: Pick<Account, 'owner' | 'share'>, deadline: number): void {
    this.dispatcher.check({ tenant: owner, weight: share, deadline }, task)
  }

  /**
   * Predictions in the order of the inputs.
   * @throws Problem `unknown_task`, `empty_text`, `text_too_long`, `text_pair_not_taken` with the index of the input;
   *   `threshold_not_taken`; whatever the account and the dispatcher throw
   */
  async predict(inputs: readonly PredictionInput[], options: PredictOptions): Promise<Predicted[]> {
    const { owner, share, spend } = options.account
    const tasks = new Map(inputs.map(({ task }) => [task, this.registry.get(owner, task)]))
    const taskOf = (id: string): Task => tasks.get(id) ?? this.registry.get(owner, id)
    for (const [index, input] of inputs.entries()) checkText(input, taskOf(input.task), index)
    if (options.threshold !== undefined) checkThreshold(tasks)
    const texts = await Promise.all(inputs.map((input) => this.tokenizer.encode(input)))
    if (!options.truncate) for (const [index, text] of texts.entries()) this.#checkLength(text, index)
    spend(texts.reduce((sum, { inputIds }) => sum + inputIds.length, 0))
    const rows = inputs.map((input, index) => ({
      task: input.task,
      row: engineRow(taskOf(input.task), present(texts[index])),
    }))
    const results = await this.dispatcher.submit(rows, { tenant: owner, weight: share, ...options })
    return inputs.map((input, index): Predicted => {
      const task = taskOf(input.task)
      const prediction = answerOf(task.file, input.text, present(texts[index]), present(results[index]), options)
      return { task: input.task, version: task.file.digest, prediction }
    })
  }

  #checkLength({ fullLength }: EncodedText, index: number): void {
    const { maxTokens } = this.tokenizer
    if (fullLength <= maxTokens) return
    throw new Problem(
      'text_too_long',
      `inputs[${index}] has ${fullLength} tokens; the model takes ${maxTokens}, special tokens included`,
      { input: index, tokens: fullLength, limit: maxTokens },
    )
  }
}

function checkText({ text, textPair }: Text, task: Task, index: number): void {
  for (const [name, value] of [['text', text] as const, ['text_pair', textPair] as const])
    if (value !== undefined && value.trim() === '')
      throw new Problem('empty_text', `inputs[${index}]: ${name} is empty or blank`, { input: index, field: name })
  const { problemType } = task.file
  if (textPair !== undefined && !readings[problemType].pairs)
    throw new Problem('text_pair_not_taken', `inputs[${index}]: a ${problemType} takes one text, not a pair`, {
      input: index,
    })
}

/** Beside a multi-label task others may be asked: as with top_k, an option is for those that it says something to. */
function checkThreshold(tasks: ReadonlyMap<string, Task>): void {
  const types = Array.from(tasks, ([id, { file }]) => ({ id, type: file.problemType }))
  if (types.some(({ type }) => type === 'multi_label_classification')) return
  throw new Problem(
    'threshold_not_taken',
    'threshold is given, but no task that is asked is a multi_label_classification: ' +
      types.map(({ id, type }) => `"${id}" is a ${type}`).join(', '),
  )
}

function engineRow({ file, bitset }: Task, { inputIds, tokenTypeIds }: EncodedText): EngineRow {
  return {
    inputIds,
    tokenTypeIds,
    pooling: file.pooling,
    maskKey: file.digest,
    bitset: () => bitset,
    withHidden: readings[file.problemType].hidden,
  }
}

function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('an input has no text or no result')
  return value
}
