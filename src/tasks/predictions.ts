// From the output of the engine to the prediction of a task, for each problem type.

import type { Word } from '../backbones/words.js'
import type { RowResult } from '../engine/engine.js'
import type { ProblemType } from '../petl/task.js'
import type { TaskFile } from '../petl/task-file.js'
import type { Steps } from '../steps.js'
import {
  type Classification,
  classify,
  classifyEach,
  denseInSteps,
  labelsReaching,
  logitsInSteps,
  type ScoreOptions,
} from './heads.js'
import { labelWords, type TokenClassification } from './words.js'

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

export interface PredictionOptions extends ScoreOptions {
  /** Replaces the thresholds of a multi-label task. */
  readonly threshold?: number | undefined
}

/** Whether a problem type reads hidden states of tokens instead of the pooled vector. */
export const readsHidden = (problemType: ProblemType): boolean => problemType === 'token_classification'

/** A text and its words. */
export interface TextAndWords {
  readonly text: string
  /** Empty unless the problem type reads hidden states. */
  readonly words: readonly Word[]
}

/**
 * The prediction of a task for one text.
 * @param row output of the engine for the text, with hidden states if the problem type reads them
 */
export function* predictionInSteps(
  task: TaskFile,
  { text, words }: TextAndWords,
  { pooled, hidden }: RowResult,
  options: PredictionOptions,
): Steps<Prediction> {
  switch (task.problemType) {
    case 'single_label_classification':
      return yield* classify(task.labels, yield* logitsInSteps(task.head, pooled), options, task.thresholds)
    case 'multi_label_classification': {
      const logits = yield* logitsInSteps(task.head, pooled)
      const labels = yield* labelsReaching(options.threshold ?? task.thresholds, task.labels, logits)
      return { ...(yield* classifyEach(task.labels, logits, options)), labels }
    }
    case 'regression':
      return { score: ((yield* logitsInSteps(task.head, pooled))[0] ?? Number.NaN) + task.offset }
    case 'token_classification':
      if (hidden === undefined) throw new Error('the engine returned no hidden states for a token classification')
      return yield* labelWords(task, text, words, hidden, options)
    case 'feature_extraction':
      return { embedding: yield* embeddingInSteps(task, pooled) }
  }
}

function* embeddingInSteps(
  { projection, normalize }: Extract<TaskFile, { problemType: 'feature_extraction' }>,
  pooled: Float32Array,
): Steps<number[]> {
  const vector = projection ? Float32Array.from(yield* denseInSteps(projection, pooled)) : pooled
  return Array.from(normalize ? normalized(vector) : vector)
}

/** The vector scaled to an L2 norm of 1. A zero vector is unchanged. */
function normalized(vector: Float32Array): Float32Array {
  const norm = Math.hypot(...vector)
  return norm === 0 ? vector : vector.map((value) => value / norm)
}
