// The course of a training for a chart: losses by step, and held-out losses by epoch. The number of points is bounded.

import type { LearnerProgress } from '../learner/messages.js'
import type { CurvePoint, EpochScore, JobDetails } from './job.js'

/** With more points, every other one is dropped, and fewer are added from then on. */
const mostPoints = 500
const mostEpochs = 1_000

export class Curve {
  #curve: CurvePoint[] = []
  readonly #epochs: EpochScore[] = []
  /** Least distance of two points, in steps. */
  #distance = 1

  get points(): Pick<JobDetails, 'curve' | 'epochs'> {
    return { curve: this.#curve, epochs: this.#epochs }
  }

  add({ step, loss, epoch, heldOutLoss }: LearnerProgress): void {
    if (step !== undefined && loss !== undefined && step >= (this.#curve.at(-1)?.step ?? -1) + this.#distance) {
      this.#curve.push({ step, loss })
      if (this.#curve.length > mostPoints) {
        this.#curve = this.#curve.filter((_, index) => index % 2 === 0)
        this.#distance *= 2
      }
    }
    const isNew = epoch !== undefined && epoch > (this.#epochs.at(-1)?.epoch ?? -1)
    if (isNew && heldOutLoss !== undefined && this.#epochs.length < mostEpochs)
      this.#epochs.push({ epoch, heldOutLoss })
  }
}
