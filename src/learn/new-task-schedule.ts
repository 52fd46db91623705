// How fast and how long a new task is trained by default.

import type { Subset } from './example-set.js'
import type { Rates } from './trainer.js'

/** A fitted head and a known mask are near a good solution already. Larger steps would flip much of the mask at once. */
export const ratesFromStart = { scores: 0.003, heads: 0.001 } as const
export const ratesFromRandomMask = { scores: 0.01, heads: 0.001 } as const
export const ratesFromScratch = { scores: 0.05, heads: 0.005 } as const

/** @param given rates that take the place of the defaults */
export const ratesFrom = (defaults: Omit<Rates, 'weights'>, given: Partial<Rates> = {}): Rates => ({
  weights: 0,
  ...defaults,
  ...given,
})

/** Steps that are enough for most tasks, within bounds on epochs. */
const enoughSteps = 300
const epochBounds = [3, 12] as const

export function defaultEpochs({ examples }: Subset, batchRows: number): number {
  const steps = Math.ceil(examples.length / batchRows)
  return Math.min(Math.max(Math.ceil(enoughSteps / steps), epochBounds[0]), epochBounds[1])
}
