// A class for each word of a text.

import { throwInvalidData } from '../../data/invalid-data.js'
import { labelIndex, outputCount } from '../../data/label-space.js'
import { tagsOf } from '../../formats/iob.js'
import { wordsBeginningIn } from '../word-spans.js'
import { classTraits, rawScores } from './classes.js'
import type { ProblemTraits } from './learned-problem.js'

export const tokenClassification: ProblemTraits = {
  ...classTraits,
  unit: 'word',
  targets: (space, { label, place }) =>
    typeof label === 'object'
      ? label.map((name) => labelIndex(space, name, place))
      : throwInvalidData(place, 'the label is not an array; expected a label for each word'),
  metrics: ({ labels }) => (tagsOf(labels) ? ['span_f1', 'accuracy'] : ['accuracy']),
  servedOutputs: (space, { words = [] }, [prediction]) => {
    const predicted = prediction?.words ?? []
    const none = new Array<number>(outputCount(space)).fill(Number.NaN)
    return wordsBeginningIn(words, predicted).flatMap((at) => rawScores(predicted[at]) ?? none)
  },
}
