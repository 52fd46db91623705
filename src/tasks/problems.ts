// The table of problem types for serving. A new type is a file of problems/ and a row.

import type { RowResult } from '../engine/engine.js'
import { type ProblemType, problemTypes } from '../petl/task.js'
import type { TaskFile } from '../petl/task-file.js'
import type { Steps } from '../steps.js'
import type { LabelBytes, PredictionCost } from './prediction-costs.js'
import type { Prediction, PredictionOptions } from './predictions.js'
import { featureExtraction } from './problems/feature-extraction.js'
import { multiLabel } from './problems/multi-label.js'
import { regression } from './problems/regression.js'
import type { ProblemDescription, ServedProblem, TaskOf, TextAndWords } from './problems/served-problem.js'
import { singleLabel } from './problems/single-label.js'
import { tokenClassification } from './problems/token-classification.js'

const problems: { readonly [P in ProblemType]: ServedProblem<TaskOf<P>> } = {
  single_label_classification: singleLabel,
  multi_label_classification: multiLabel,
  regression,
  token_classification: tokenClassification,
  feature_extraction: featureExtraction,
}

const problemOf = ({ problemType }: TaskFile): ServedProblem<TaskFile> => problems[problemType]

/** Whether a problem type reads hidden states of tokens instead of the pooled vector. */
export const readsHidden = (problemType: ProblemType): boolean => problems[problemType].readsHidden

/** The problem types of tasks whose thresholds requests can replace. */
export const typesWithThreshold = problemTypes.filter((problemType) => problems[problemType].takesThreshold)

/** The problem types of tasks that say how sure a prediction is. */
export const typesThatDecide = problemTypes.filter((problemType) => problems[problemType].decides)

/**
 * The prediction of a task for one text.
 * @param row output of the engine for the text, with hidden states if the problem type reads them
 */
export const predictionInSteps = (
  task: TaskFile,
  text: TextAndWords,
  row: RowResult,
  options: PredictionOptions,
): Steps<Prediction> => problemOf(task).predictInSteps(task, text, row, options)

/**
 * The cost of a prediction for one text.
 * @param units how often the head is applied: number of words if the problem type reads hidden states, else 1
 * @param hiddenSize size of a vector
 */
export function predictionCost(
  { file, labelBytes }: { readonly file: TaskFile; readonly labelBytes: LabelBytes },
  units: number,
  topK: number | undefined,
  hiddenSize: number,
): PredictionCost {
  const { multiplyAdds, values, bytes } = problemOf(file).costOf(file, labelBytes, topK, hiddenSize)
  return { multiplyAdds: units * multiplyAdds, values: units * values, bytes: units * bytes }
}

/** The fields of a task's description that only its problem type has. */
export const describeProblem = (task: TaskFile): ProblemDescription => problemOf(task).describe(task)
