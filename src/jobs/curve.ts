// The course of a training for a chart: losses by step, and held-out losses by epoch. The number of points is bounded.

import { LossCurve } from '../learner/loss-curve.js'
import type { LearnerProgress } from '../learner/messages.js'
import type { EpochScore, JobDetails } from './job.js'

const mostEpochs = 1_000

export class Curve {
  readonly #losses = new LossCurve()
  readonly #epochs: EpochScore[] = []

  get points(): Pick<JobDetails, 'curve' | 'epochs'> {
    return { curve: this.#losses.points, epochs: this.#epochs }
  }

  add({ step, loss, epoch, heldOutLoss }: LearnerProgress): void {
    if (step !== undefined && loss !== undefined) this.#losses.add(step, loss)
    const isNew = epoch !== undefined && epoch > (this.#epochs.at(-1)?.epoch ?? -1)
    if (isNew && heldOutLoss !== undefined && this.#epochs.length < mostEpochs)
      this.#epochs.push({ epoch, heldOutLoss })
  }
}
