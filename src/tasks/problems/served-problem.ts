// What serving must know of a problem type: each file of this folder says it of one type. learn/problems says what training
// must know; a server does not load that.

import type { Word } from '../../backbones/words.js'
import type { RowResult } from '../../engine/engine.js'
import type { HeadActivation, ProblemType } from '../../petl/task.js'
import type { TaskFile } from '../../petl/task-file.js'
import type { Steps } from '../../steps.js'
import type { LabelBytes, PredictionCost } from '../prediction-costs.js'
import type { Prediction, PredictionOptions } from '../predictions.js'

export type TaskOf<P extends ProblemType> = Extract<TaskFile, { readonly problemType: P }>

/** A text and its words. */
export interface TextAndWords {
  readonly text: string
  /** Empty unless the problem type reads hidden states. */
  readonly words: readonly Word[]
}

/** The fields of a task's description that only some problem types have. */
export interface ProblemDescription {
  /** Only of a multi-label classification with the same threshold for all labels. */
  readonly threshold?: number
  /** The threshold of each label, if they differ. */
  readonly thresholds?: readonly number[]
  /** Only of a feature extraction. */
  readonly normalize?: boolean
  /** Only of a feature extraction whose vectors are not the pooled vectors themselves. */
  readonly projection?: { readonly inputs: number; readonly outputs: number; readonly activation: HeadActivation }
  /** Only of a token classification: whether words are found by a rule of the task file, or by the tokenizer. */
  readonly words?: 'rule' | 'tokenizer'
}

export interface ServedProblem<T extends TaskFile> {
  /** Whether it reads hidden states of tokens instead of the pooled vector. */
  readonly readsHidden: boolean
  /** Whether requests can replace the thresholds of a task. */
  readonly takesThreshold: boolean
  /** Whether it decides on labels, and says how sure it is (decisions.ts). */
  readonly decides: boolean
  /**
   * The prediction for one text.
   * @param row output of the engine for the text, with hidden states if the problem type reads them
   */
  predictInSteps(task: T, text: TextAndWords, row: RowResult, options: PredictionOptions): Steps<Prediction>
  /**
   * The cost of one application of the head: for a text, or for a word if the problem type reads hidden states.
   * @param hiddenSize size of a vector
   */
  costOf(task: T, labels: LabelBytes, topK: number | undefined, hiddenSize: number): PredictionCost
  describe(task: T): ProblemDescription
}
