// Several labels. Any number of them may apply to a text.

import { throwInvalidData } from '../../data/invalid-data.js'
import { labelIndex, outputCount } from '../../data/label-space.js'
import { defaultThreshold, thresholdOf } from '../../petl/task.js'
import { binaryCrossEntropy } from '../losses.js'
import { logOdds, sigmoid } from '../probabilities.js'
import { rawScores } from './classes.js'
import type { ProblemTraits } from './learned-problem.js'

export const multiLabel: ProblemTraits = {
  unit: 'text',
  loss: binaryCrossEntropy,
  width: outputCount,
  targets: (space, { label, place }) => {
    if (typeof label !== 'object')
      return throwInvalidData(place, 'the label is not an array; expected an array of labels')
    const applies = new Float32Array(outputCount(space))
    // A label that was not learned has no output, and the array ignores its index.
    for (const name of label) applies[labelIndex(space, name, place)] = 1
    return applies
  },
  lossTargets: (_, targets) => targets,
  labelsOf: (_, targets) => targets,
  predictions: (space, outputs) => {
    const { thresholds = defaultThreshold } = space
    const C = outputCount(space)
    const minOutputs = Float64Array.from({ length: C }, (_, label) => logOdds(thresholdOf(thresholds, label)))
    return Float32Array.from(outputs, (output, at) => (output >= (minOutputs[at % C] ?? 0) ? 1 : 0))
  },
  metrics: () => ['macro_f1', 'micro_f1', 'average_precision'],
  servedOutputs: (_space, _example, [prediction]) => rawScores(prediction) ?? [],
  confidences: (outputs) => Float64Array.from(outputs, sigmoid),
}
