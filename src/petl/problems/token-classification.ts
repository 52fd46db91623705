// A class for each word of a text.

import { readHead } from '../task-tensors.js'
import type { FieldsOf, ProblemFile } from './problem-file.js'

export const tokenClassification: ProblemFile<FieldsOf<'token_classification'>> = {
  takesPairs: false,
  hasLabels: true,
  hasThresholds: false,
  layers: 'head',
  ownMetadata: ['words'],
  *readInSteps(file, header, metadata) {
    return { problemType: 'token_classification', head: yield* readHead(file, header, metadata) }
  },
  write: () => ({}),
}
