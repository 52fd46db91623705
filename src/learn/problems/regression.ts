// A number.

import type { LabelSpace } from '../../data/label-space.js'
import type { Values } from '../evaluated-examples.js'
import type { ProblemTraits } from './learned-problem.js'
import { exampleNumber, numberTraits } from './numbers.js'

export const regression: ProblemTraits = {
  ...numberTraits,
  unit: 'text',
  // Standardised before they become float32, because labels such as timestamps need more precision.
  targets: (space, example) => {
    const { mean, deviation } = spreadOf(space)
    return [(exampleNumber(example) - mean) / deviation]
  },
  lossTargets: (_, targets) => targets,
  labelsOf: (space, targets) => unstandardised(space, targets),
  predictions: (space, outputs) => unstandardised(space, outputs),
  metrics: () => ['r2', 'rmse', 'mae', 'pearson', 'spearman', 'pearson_and_spearman'],
  servedOutputs: (_space, _example, [prediction]) => [prediction?.score ?? Number.NaN],
}

/** Labels of an evaluated task are not standardised. */
const spreadOf = ({ spread = { mean: 0, deviation: 1 } }: LabelSpace) => spread

function unstandardised(space: LabelSpace, values: Values): Float64Array {
  const { mean, deviation } = spreadOf(space)
  return Float64Array.from(values, (value) => value * deviation + mean)
}
