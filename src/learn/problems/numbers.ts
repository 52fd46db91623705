// What the problem types that predict a number have in common.

import type { Example } from '../../data/examples.js'
import { throwInvalidData } from '../../data/invalid-data.js'
import { labelNumber } from '../../data/label-space.js'
import { squaredError } from '../losses.js'
import type { ProblemTraits } from './learned-problem.js'

export const numberTraits = {
  loss: squaredError,
  width: () => 1,
  confidences: () => undefined,
} as const satisfies Partial<ProblemTraits>

/** @throws Problem `invalid_data` for a label that is not a number */
export function exampleNumber({ label, place }: Example): number {
  return (
    labelNumber(label) ?? throwInvalidData(place, `the label is ${JSON.stringify(label)}; expected a finite number`)
  )
}
