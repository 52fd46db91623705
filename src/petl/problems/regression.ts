// A number.

import { Type } from 'typebox'
import { throwInvalidTaskFile } from '../invalid-task-file.js'
import { readHead } from '../task-tensors.js'
import type { FieldsOf, ProblemFile } from './problem-file.js'

export const regression: ProblemFile<FieldsOf<'regression'>> = {
  takesPairs: true,
  hasLabels: false,
  hasThresholds: false,
  layers: 'head',
  ownMetadata: ['offset'],
  *readInSteps(file, header, metadata) {
    const offset = metadata.fields.has('offset') ? metadata.json('offset', Type.Number(), 'a number') : 0
    const head = yield* readHead(file, header, metadata)
    if (head.output.outputs !== 1)
      throwInvalidTaskFile(`head.weight has ${head.output.outputs} rows, but a regression has exactly one output`)
    return { problemType: 'regression', head, offset }
  },
  write: ({ offset }): Record<string, string> => (offset === 0 ? {} : { offset: String(offset) }),
}
