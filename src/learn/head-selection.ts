// Selects how strongly a head is regularised, by examples that it was not fitted to.

import type { ProblemType } from '../petl/task.js'
import { type Calibration, calibrate } from './calibration.js'
import type { LabelledVectors, LinearHead, LinearHeads } from './linear-head.js'

/** Vectors that a head is fitted to, and vectors that it is judged by. */
export interface HeadFold {
  readonly fitted: LabelledVectors
  readonly heldOut: LabelledVectors
}

export interface SelectedPenalty {
  readonly penalty: number
  /** By the outputs for the held-out vectors. */
  readonly calibration: Calibration
  /** The head of each fold, and its outputs for the held-out vectors. */
  readonly heads: readonly LinearHead[]
  readonly outputs: readonly Float32Array[]
}

/** From the strongest, so that each fit can start from the one before it. Those of logistic regression. */
const penalties = [10, 3, 1, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001]

/** When a search for a penalty ends early. */
export interface PenaltyLimits {
  /** Ends the search by its reason until one penalty has been tried. */
  readonly signal: AbortSignal
  /** If aborted, the best of the penalties that were tried so far is selected. */
  readonly stop: AbortSignal
}

/**
 * Selects the penalty with the lowest loss after calibration. A strong penalty also makes probabilities too even, which
 * calibration undoes, so the loss before it would favour weaker penalties. The search ends where the loss rises: further
 * penalties would rarely change the choice of a mask.
 */
export async function selectPenalty(
  heads: LinearHeads,
  problem: ProblemType,
  folds: readonly HeadFold[],
  { signal, stop }: PenaltyLimits,
): Promise<SelectedPenalty> {
  let last: readonly LinearHead[] = []
  let best: SelectedPenalty | undefined
  // The squared error curves up to eight times as much as the logistic losses, so its penalties are as much larger.
  const scale = problem === 'regression' ? 8 : 1
  try {
    for (const penalty of penalties.map((penalty) => scale * penalty)) {
      const fitted: LinearHead[] = []
      const outputs: Float32Array[] = []
      for (const [at, fold] of folds.entries()) {
        const head = await heads.fit(fold.fitted, penalty, last[at], best ? stop : signal)
        fitted.push(head)
        const { logits } = await heads.evaluate(head, fold.heldOut)
        outputs.push(withoutUncounted(logits, fold.heldOut.counted))
      }
      last = fitted
      const calibration = calibrate(problem, {
        outputs: concatenated(outputs),
        targets: concatenated(folds.map(({ heldOut }) => heldOut.targets)),
        width: heads.outputs,
      })
      if (best !== undefined && calibration.loss >= best.calibration.loss) break
      best = { penalty, calibration, heads: fitted, outputs }
    }
  } catch (error) {
    if (best === undefined || !stop.aborted) throw error
  }
  if (best === undefined) throw new Error('there are no penalties')
  return best
}

function withoutUncounted(outputs: Float32Array, counted: Float32Array): Float32Array {
  const width = outputs.length / counted.length
  for (const [at, one] of counted.entries()) if (one === 0) outputs.fill(Number.NaN, at * width, (at + 1) * width)
  return outputs
}

export function concatenated(arrays: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(arrays.reduce((sum, { length }) => sum + length, 0))
  let start = 0
  for (const array of arrays) {
    all.set(array, start)
    start += array.length
  }
  return all
}

/** Several sets of vectors as one. */
export const joinVectors = (sets: readonly LabelledVectors[]): LabelledVectors => ({
  vectors: concatenated(sets.map(({ vectors }) => vectors)),
  targets: concatenated(sets.map(({ targets }) => targets)),
  counted: concatenated(sets.map(({ counted }) => counted)),
})

/** Some of the vectors, by their numbers. */
export function pickVectors({ vectors, targets, counted }: LabelledVectors, places: Int32Array): LabelledVectors {
  const pick = (values: Float32Array) => {
    const width = values.length / counted.length
    const picked = new Float32Array(places.length * width)
    for (const [at, place] of places.entries())
      picked.set(values.subarray(place * width, (place + 1) * width), at * width)
    return picked
  }
  return { vectors: pick(vectors), targets: pick(targets), counted: pick(counted) }
}
