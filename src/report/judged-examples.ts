// Compares the predictions for one example with its labels.

import type { Example } from '../data/examples.js'
import { type LabelSpace, labelNames } from '../data/label-space.js'
import { confidencesOf } from '../learn/confidences.js'
import type { Evaluation, Values } from '../learn/evaluated-examples.js'

/** A label; the labels that apply, or those of the words; or a number. */
export type ShownLabel = string | number | readonly string[]

export interface JudgedExample extends Pick<Example, 'place' | 'text' | 'textPair'> {
  readonly expected: ShownLabel
  readonly predicted: ShownLabel
  /** The confidence of the worst wrong prediction; for a regression, the absolute difference. */
  readonly score?: number
  /** Numbers are never quite right, so all of them count as wrong. */
  readonly isWrong: boolean
}

/** The label of a word without a prediction. */
const noPrediction = '?'

/** @param scored outputs, predictions and labels of the example: [N, C], [N, width] and [N, width] */
export function judge(
  space: LabelSpace,
  { place, text, textPair }: Pick<Example, 'place' | 'text' | 'textPair'>,
  scored: Pick<Evaluation, 'outputs' | 'predictions' | 'actual'>,
): JudgedExample {
  const { predictions, actual } = scored
  const { problem, labels } = space
  const confidences = confidencesOf(space, scored) ?? new Float64Array()
  const wrong = Array.from(actual.keys()).filter((at) => predictions[at] !== actual[at])
  const names = labelNames(space)
  const nameOf = (label: number | undefined) => names[label ?? -1] ?? noPrediction
  const applying = (values: Values) => labels.filter((_, label) => values[label] === 1)
  const common = { place, text, ...(textPair !== undefined && { textPair }), isWrong: wrong.length > 0 }
  switch (problem) {
    case 'single_label_classification':
      return { ...common, expected: nameOf(actual[0]), predicted: nameOf(predictions[0]), score: confidences[0] ?? 0 }
    case 'multi_label_classification': {
      const scores = wrong.map((at) => (predictions[at] === 1 ? (confidences[at] ?? 0) : 1 - (confidences[at] ?? 0)))
      return { ...common, expected: applying(actual), predicted: applying(predictions), score: Math.max(0, ...scores) }
    }
    case 'token_classification': {
      const scores = wrong.map((at) => confidences[at] || 0)
      return {
        ...common,
        expected: Array.from(actual, nameOf),
        predicted: Array.from(predictions, nameOf),
        score: Math.max(0, ...scores),
      }
    }
    case 'regression': {
      const [expected = 0, predicted = 0] = [actual[0], predictions[0]]
      return { ...common, expected, predicted, score: Math.abs(predicted - expected), isWrong: true }
    }
    case 'feature_extraction':
      return { ...common, expected: actual[0] ?? 0, predicted: predictions[0] ?? 0, isWrong: true }
  }
}

/** Keeps the examples with the highest scores. */
export class WorstExamples {
  readonly #examples: JudgedExample[] = []

  constructor(readonly most: number) {}

  add(example: JudgedExample): void {
    const { score, isWrong } = example
    const last = this.#examples.at(-1)?.score ?? 0
    if (!isWrong || score === undefined || (this.#examples.length === this.most && score <= last)) return
    const at = this.#examples.findIndex((other) => (other.score ?? 0) < score)
    this.#examples.splice(at < 0 ? this.#examples.length : at, 0, example)
    if (this.#examples.length > this.most) this.#examples.pop()
  }

  /** The highest scores first. */
  get list(): readonly JudgedExample[] {
    return this.#examples
  }
}
