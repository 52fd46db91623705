// The table of problem types in task files. A new type is a file of problems/ and a row.

import { featureExtraction } from './problems/feature-extraction.js'
import { multiLabel } from './problems/multi-label.js'
import type { FieldsOf, ProblemFile } from './problems/problem-file.js'
import { regression } from './problems/regression.js'
import { singleLabel } from './problems/single-label.js'
import { tokenClassification } from './problems/token-classification.js'
import type { ProblemFields, ProblemType } from './task.js'

const rows: { readonly [P in ProblemType]: ProblemFile<FieldsOf<P>> } = {
  single_label_classification: singleLabel,
  multi_label_classification: multiLabel,
  regression,
  token_classification: tokenClassification,
  feature_extraction: featureExtraction,
}

export const problemFiles: Readonly<Record<ProblemType, ProblemFile<ProblemFields>>> = rows

/** Whether tasks of a problem type can be trained on pairs that are encoded together. */
export const takesPairs = (problemType: ProblemType): boolean => problemFiles[problemType].takesPairs
