// Selects how strongly a head is regularised, by examples that it was not fitted to.

import type { LabelledVectors, LinearHead, LinearHeads } from './linear-head.js'

/** Vectors that a head is fitted to, and vectors that it is judged by. */
export interface HeadFold {
  readonly fitted: LabelledVectors
  readonly heldOut: LabelledVectors
}

export interface SelectedPenalty {
  readonly penalty: number
  /** Mean loss of the held-out vectors. */
  readonly loss: number
  /** The head of each fold, and its outputs for the held-out vectors. */
  readonly heads: readonly LinearHead[]
  readonly outputs: readonly Float32Array[]
}

/** From the strongest, so that each fit can start from the one before it. */
const penalties = [10, 3, 1, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001]

/** Weaker penalties are not tried once the loss has risen so many times in a row. */
const patience = 2

export async function selectPenalty(
  heads: LinearHeads,
  folds: readonly HeadFold[],
  signal?: AbortSignal,
): Promise<SelectedPenalty> {
  let last: readonly LinearHead[] = []
  let best: SelectedPenalty | undefined
  let rises = 0
  for (const penalty of penalties) {
    const fitted: LinearHead[] = []
    const outputs: Float32Array[] = []
    let [sum, count] = [0, 0]
    for (const [at, fold] of folds.entries()) {
      signal?.throwIfAborted()
      const head = await heads.fit(fold.fitted, penalty, last[at])
      fitted.push(head)
      const { loss, logits } = await heads.evaluate(head, fold.heldOut)
      const own = fold.heldOut.counted.reduce((total, one) => total + one, 0)
      sum += loss * own
      count += own
      outputs.push(withoutUncounted(logits, fold.heldOut.counted))
    }
    last = fitted
    const loss = sum / count
    if (best === undefined || loss < best.loss) {
      best = { penalty, loss, heads: fitted, outputs }
      rises = 0
    } else if (++rises === patience) break
  }
  if (best === undefined) throw new Error('there are no penalties')
  return best
}

function withoutUncounted(outputs: Float32Array, counted: Float32Array): Float32Array {
  const width = outputs.length / counted.length
  for (const [at, one] of counted.entries()) if (one === 0) outputs.fill(Number.NaN, at * width, (at + 1) * width)
  return outputs
}

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
