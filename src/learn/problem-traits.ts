// The table of problem types for training and evaluation. A new type is a file of problems/ and a row.

import type { ProblemType } from '../petl/task.js'
import { featureExtraction } from './problems/feature-extraction.js'
import type { ProblemTraits } from './problems/learned-problem.js'
import { multiLabel } from './problems/multi-label.js'
import { regression } from './problems/regression.js'
import { singleLabel } from './problems/single-label.js'
import { tokenClassification } from './problems/token-classification.js'

export const problemTraits: Readonly<Record<ProblemType, ProblemTraits>> = {
  single_label_classification: singleLabel,
  multi_label_classification: multiLabel,
  regression,
  token_classification: tokenClassification,
  feature_extraction: featureExtraction,
}

/** Whether tasks of this type have heads. Pairs are compared by the vectors of backbone and mask alone. */
export const hasHead = (problem: ProblemType): boolean => problemTraits[problem].unit !== 'pair'
