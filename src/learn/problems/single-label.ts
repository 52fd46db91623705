// One class out of several.

import { throwInvalidData } from '../../data/invalid-data.js'
import { labelIndex } from '../../data/label-space.js'
import type { Label } from '../../data/row-labels.js'
import { classTraits, rawScores } from './classes.js'
import type { ProblemTraits } from './learned-problem.js'

export const singleLabel: ProblemTraits = {
  ...classTraits,
  unit: 'text',
  targets: (space, { label, place }) => [labelIndex(space, onlyLabel(label, place), place)],
  metrics: () => ['accuracy', 'macro_f1', 'accuracy_and_f1', 'matthews_correlation'],
  servedOutputs: (_space, _example, [prediction]) => rawScores(prediction) ?? [],
}

/** Annotation tools write one label as a list of one. */
function onlyLabel(label: Label, place: string): string {
  const [only, ...others] = typeof label === 'object' ? label : [String(label)]
  if (only === undefined || others.length > 0)
    return throwInvalidData(
      place,
      `the label is a list of ${others.length + (only === undefined ? 0 : 1)}; expected one label`,
    )
  return only
}
