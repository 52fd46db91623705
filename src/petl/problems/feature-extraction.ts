// A vector.

import { readDense } from '../task-tensors.js'
import type { FieldsOf, ProblemFile } from './problem-file.js'

export const featureExtraction: ProblemFile<FieldsOf<'feature_extraction'>> = {
  // Texts are compared by their separate vectors.
  takesPairs: false,
  hasLabels: false,
  hasThresholds: false,
  layers: 'projection',
  ownMetadata: ['normalize', 'projection_activation'],
  *readInSteps(file, header, metadata) {
    const normalize = metadata.choice('normalize', ['true', 'false'], 'true') === 'true'
    const projection = yield* readDense(file, header, metadata, 'projection', 'projection_activation')
    return { problemType: 'feature_extraction', normalize, ...(projection && { projection }) }
  },
  write: ({ normalize }) => ({ normalize: String(normalize) }),
}
