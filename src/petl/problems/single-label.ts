// One class out of several.

import { readHead, readThresholds } from '../task-tensors.js'
import type { FieldsOf, ProblemFile } from './problem-file.js'

export const singleLabel: ProblemFile<FieldsOf<'single_label_classification'>> = {
  takesPairs: true,
  hasLabels: true,
  hasThresholds: true,
  layers: 'head',
  ownMetadata: [],
  *readInSteps(file, header, metadata) {
    const head = yield* readHead(file, header, metadata)
    const thresholds = yield* readThresholds(file, header, head)
    return { problemType: 'single_label_classification', head, ...(thresholds && { thresholds }) }
  },
  write: () => ({}),
}
