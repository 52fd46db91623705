// Several labels. Any number of them may apply to a text.

import { Type } from 'typebox'
import { defaultThreshold } from '../task.js'
import { readHead, readThresholds } from '../task-tensors.js'
import type { FieldsOf, ProblemFile } from './problem-file.js'

const thresholdNumber = Type.Number({ exclusiveMinimum: 0, exclusiveMaximum: 1 })

export const multiLabel: ProblemFile<FieldsOf<'multi_label_classification'>> = {
  takesPairs: true,
  hasLabels: true,
  hasThresholds: true,
  layers: 'head',
  ownMetadata: ['threshold'],
  *readInSteps(file, header, metadata) {
    const head = yield* readHead(file, header, metadata)
    const threshold = metadata.fields.has('threshold')
      ? metadata.json('threshold', thresholdNumber, 'a number above 0 and below 1')
      : defaultThreshold
    const thresholds = (yield* readThresholds(file, header, head)) ?? threshold
    return { problemType: 'multi_label_classification', head, thresholds }
  },
  write: ({ thresholds }): Record<string, string> =>
    typeof thresholds === 'number' ? { threshold: String(thresholds) } : {},
}
