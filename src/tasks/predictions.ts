// What tasks predict. problems/ makes the predictions.

import type { DecisionOptions } from './decisions.js'
import type { Classification } from './heads.js'
import type { TokenClassification } from './words.js'

export interface MultiLabelClassification extends Classification {
  /** The labels whose probability reaches their threshold, best first. */
  readonly labels: readonly string[]
}

export interface Regression {
  readonly score: number
}

export interface FeatureExtraction {
  /** [H], or the outputs of the projection. */
  readonly embedding: readonly number[]
}

export type Prediction =
  | Classification
  | MultiLabelClassification
  | Regression
  | TokenClassification
  | FeatureExtraction

export interface PredictionOptions extends DecisionOptions {
  /** Replaces the thresholds of a multi-label task. */
  readonly threshold?: number | undefined
}
