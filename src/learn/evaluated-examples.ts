// What an evaluation has for each of its examples: outputs, predictions and labels.

/** Numbers of outputs, predictions or labels. Those of a regression are float64, so that large labels stay exact. */
export type Values = Float32Array | Float64Array

/** Predictions for some examples, and their labels. */
export interface Predictions {
  /** [N, width] each. A class of −1 means no prediction, because the word was truncated. */
  readonly predictions: Values
  readonly actual: Values
  /** Index of the first label of each example, and the number of labels at the end: [examples + 1]. */
  readonly starts: Int32Array
}

/** Predictions with the outputs that they come from. */
export interface Evaluation extends Predictions {
  /** [N, C], calibrated. NaN for words without token. */
  readonly outputs: Values
}
