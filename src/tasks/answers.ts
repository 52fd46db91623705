// What a task answers of a text, by its problem type, from what the backbone made of the text.

import type { EncodedText } from '../backbones/tokenizer.js'
import type { RowResult } from '../engine/engine.js'
import type { ProblemType, TaskFile } from '../formats/task-file.js'
import { type Classification, classify, classifyEach, labelsReaching, logitsOf, type ScoreOptions } from './heads.js'
import { labelWords, type TokenClassification } from './words.js'

export interface MultiLabelClassification extends Classification {
  /** The labels that apply, best first: those whose probability reaches the threshold. */
  readonly labels: readonly string[]
}

export interface Regression {
  readonly score: number
}

export interface FeatureExtraction {
  /** [H] */
  readonly embedding: readonly number[]
}

export type Prediction =
  | Classification
  | MultiLabelClassification
  | Regression
  | TokenClassification
  | FeatureExtraction

export interface AnswerOptions extends ScoreOptions {
  /** In place of a multi-label task's own threshold. */
  readonly threshold?: number | undefined
}

/** What a problem type reads: a pair of texts as well as one, and hidden states of tokens or the pooled vector. */
export const readings: Readonly<Record<ProblemType, { readonly pairs: boolean; readonly hidden: boolean }>> = {
  single_label_classification: { pairs: true, hidden: false },
  multi_label_classification: { pairs: true, hidden: false },
  regression: { pairs: true, hidden: false },
  token_classification: { pairs: false, hidden: true },
  // Texts are compared by the vectors of each alone.
  feature_extraction: { pairs: false, hidden: false },
}

/** @param row what the engine gave for the text, its hidden states too if the problem type reads them */
export function answerOf(
  task: TaskFile,
  text: string,
  { encoding }: EncodedText,
  { pooled, hidden }: RowResult,
  options: AnswerOptions,
): Prediction {
  switch (task.problemType) {
    case 'single_label_classification':
      return classify(task.labels, logitsOf(task.head, pooled), options)
    case 'multi_label_classification': {
      const logits = logitsOf(task.head, pooled)
      const labels = labelsReaching(options.threshold ?? task.threshold, task.labels, logits)
      return { ...classifyEach(task.labels, logits, options), labels }
    }
    case 'regression':
      return { score: logitsOf(task.head, pooled)[0] ?? Number.NaN }
    case 'token_classification':
      if (hidden === undefined) throw new Error('a token classification got no hidden states')
      return labelWords(task, text, encoding, hidden, options)
    case 'feature_extraction':
      return { embedding: Array.from(task.normalize ? normalized(pooled) : pooled) }
  }
}

/** The vector scaled to an L2 norm of 1; zeros stay zeros. */
function normalized(vector: Float32Array): Float32Array {
  const norm = Math.hypot(...vector)
  return norm === 0 ? vector : vector.map((value) => value / norm)
}
