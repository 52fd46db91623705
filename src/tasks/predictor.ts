// Texts of tasks to predictions: tokenises, hands rows to the dispatcher, applies heads. One call sees one version of
// each task, whatever is uploaded meanwhile.

import type { EncodedText, Text, TextTokenizer } from '../backbones/tokenizer.js'
import type { EngineRow, RowResult } from '../engine/engine.js'
import { Problem } from '../problem.js'
import type { Dispatcher } from '../scheduler/dispatcher.js'
import { type Classification, logitsOf, type Regression, type ScoreOptions, scoreTask } from './heads.js'
import type { Registry, Task } from './registry.js'
import { labelWords, type TokenClassification } from './words.js'

export interface PredictionInput extends Text {
  readonly task: string
}

export interface PredictOptions extends ScoreOptions {
  /** Cut what is longer than the model takes; otherwise refuse it. */
  readonly truncate: boolean
  /** In milliseconds of performance.now(): what has not begun by then is dropped. */
  readonly deadline: number
  /** Whether nobody waits for the answer any more. */
  readonly abandoned: () => boolean
}

export type Prediction = Classification | Regression | TokenClassification

export interface Predicted {
  readonly task: string
  /** Digest of the task file that answered. */
  readonly version: string
  readonly prediction: Prediction
}

export class Predictor {
  constructor(
    readonly registry: Registry,
    readonly tokenizer: TextTokenizer,
    readonly dispatcher: Dispatcher,
  ) {}

  /**
   * Predictions in the order of the inputs.
   * @throws Problem `unknown_task`, `empty_text`, `text_too_long`, `text_pair_not_taken` with the index of the input;
   *   whatever the dispatcher throws
   */
  async predict(inputs: readonly PredictionInput[], options: PredictOptions): Promise<Predicted[]> {
    const tasks = new Map(inputs.map(({ task }) => [task, this.registry.get(task)]))
    const taskOf = (id: string): Task => tasks.get(id) ?? this.registry.get(id)
    for (const [index, input] of inputs.entries()) checkText(input, taskOf(input.task), index)
    const texts = await Promise.all(inputs.map((input) => this.tokenizer.encode(input)))
    if (!options.truncate) for (const [index, text] of texts.entries()) this.#checkLength(text, index)
    const rows = inputs.map((input, index) => ({ task: input.task, row: engineRow(taskOf(input.task), texts[index]) }))
    const results = await this.dispatcher.submit(rows, options.deadline, options.abandoned)
    return inputs.map((input, index): Predicted => {
      const task = taskOf(input.task)
      const prediction = predictionOf(task, input, texts[index], results[index], options)
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
  if (textPair !== undefined && task.file.problemType === 'token_classification')
    throw new Problem('text_pair_not_taken', `inputs[${index}]: a token classification takes one text, not a pair`, {
      input: index,
    })
}

function engineRow({ file, bitset }: Task, text: EncodedText | undefined): EngineRow {
  const { inputIds, tokenTypeIds } = present(text)
  return {
    inputIds,
    tokenTypeIds,
    pooling: file.pooling,
    maskKey: file.digest,
    bitset: () => bitset,
    withHidden: file.problemType === 'token_classification',
  }
}

function predictionOf(
  { file }: Task,
  input: Text,
  text: EncodedText | undefined,
  result: RowResult | undefined,
  options: ScoreOptions,
): Prediction {
  const { pooled, hidden } = present(result)
  if (file.problemType !== 'token_classification') return scoreTask(file, logitsOf(file.head, pooled), options)
  return labelWords(file, input.text, present(text).encoding, present(hidden), options)
}

function present<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('a row came back without what was asked for')
  return value
}
