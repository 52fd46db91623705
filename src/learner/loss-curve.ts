// The training loss by step, for a chart. The number of points is bounded, however long the training is.

import { reportLimits } from './messages.js'

export interface LossPoint {
  readonly step: number
  readonly loss: number
}

export class LossCurve {
  #points: LossPoint[] = []
  /** Least distance of two points, in steps. */
  #distance = 1

  get points(): readonly LossPoint[] {
    return this.#points
  }

  /** Keeps the point, unless it is too near the last one. If there are too many points, every other one is dropped. */
  add(step: number, loss: number): void {
    const last = this.#points.at(-1)?.step ?? Number.NEGATIVE_INFINITY
    if (step < last + this.#distance) return
    this.#points.push({ step, loss })
    if (this.#points.length <= reportLimits.curve) return
    this.#points = this.#points.filter((_, index) => index % 2 === 0)
    this.#distance *= 2
  }
}
