// The progress of a training run: steps, the smoothed loss, the best value so far, and the time that is left.

import { Problem } from '../problem.js'

export interface Progress {
  /** Steps done so far, out of `steps`. */
  readonly step: number
  readonly steps: number
  /** Mean loss of about the last 20 steps. */
  readonly loss: number
  /** The best value so far of what epochs are compared by. */
  readonly best: number | undefined
  readonly comparedBy: 'dev score' | 'held-out loss'
  readonly millisecondsLeft: number
}

/** A loss that is so many times the first one, or 1 if that is larger, does not come down again. */
const divergedFactor = 100

export class RunProgress {
  best: number | undefined
  #step = 0
  #first: number | undefined
  #loss = 0
  readonly #start = performance.now()

  /** @param steps planned so far; training may stop early and set fewer */
  constructor(
    public steps: number,
    readonly comparedBy: Progress['comparedBy'],
    readonly onProgress: (progress: Progress) => void,
  ) {}

  get step(): number {
    return this.#step
  }

  /** @throws Problem `learning_diverged` */
  stepped(loss: number): void {
    this.#first ??= loss
    this.#loss = this.#step === 0 ? loss : 0.95 * this.#loss + 0.05 * loss
    if (this.#loss > divergedFactor * Math.max(1, this.#first)) throwDiverged(this.#loss)
    this.#step++
    const { step, steps, best, comparedBy } = this
    const millisecondsLeft = ((performance.now() - this.#start) / step) * (steps - step)
    this.onProgress({ step, steps, loss: this.#loss, best, comparedBy, millisecondsLeft })
  }
}

/** @throws Problem `learning_diverged` */
export function throwDiverged(loss: number): never {
  throw new Problem('learning_diverged', `the loss is ${loss}; try lower learning rates (--score-rate, --head-rate)`)
}
