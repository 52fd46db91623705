// Reports how far a learner is: one share of the whole work, which never falls, and what is known about the training. It
// sends few messages, and keeps a bounded curve of the loss.

import type { Progress } from '../learn/run-progress.js'
import { LossCurve, type LossPoint } from './loss-curve.js'
import type { LearnerMessage, LearnerPhase } from './messages.js'

/** The share of the work that is done at the end of each phase, roughly. */
const ends: Readonly<Record<LearnerPhase, number>> = {
  reading: 0.05,
  head: 0.15,
  comparing: 0.3,
  training: 0.97,
  evaluating: 1,
}

/** Least time between two messages about progress, in milliseconds. */
const pauseMs = 200

export class ProgressReports {
  #phase: LearnerPhase = 'reading'
  /** Where the phase began. */
  #start = 0
  #done = 0
  #sentAt = Number.NEGATIVE_INFINITY
  #epoch: { readonly epoch: number; readonly heldOutLoss: number } | undefined
  readonly #curve = new LossCurve()

  constructor(readonly send: (message: LearnerMessage) => void) {}

  enter(phase: LearnerPhase): void {
    this.#start = ends[this.#phase]
    this.#phase = phase
    this.send({ kind: 'phase', phase })
  }

  /** @param share of the phase that is done */
  within(share: number): void {
    this.#report(share, {})
  }

  training({ step, steps, loss, millisecondsLeft }: Progress): void {
    this.#curve.add(step, loss)
    const secondsLeft = Math.max(0, millisecondsLeft / 1000)
    this.#report(step / Math.max(1, steps), { step, steps, loss, ...this.#epoch, secondsLeft }, step === steps)
  }

  epoch(epoch: number, heldOutLoss: number): void {
    this.#epoch = { epoch, heldOutLoss }
    // The next step reports it without a pause.
    this.#sentAt = Number.NEGATIVE_INFINITY
  }

  get curve(): readonly LossPoint[] {
    return this.#curve.points
  }

  #report(share: number, fields: object, isLast = false): void {
    const end = ends[this.#phase]
    this.#done = Math.max(this.#done, this.#start + Math.min(1, share) * (end - this.#start))
    const now = performance.now()
    if (now - this.#sentAt < pauseMs && !isLast) return
    this.#sentAt = now
    this.send({ kind: 'progress', phase: this.#phase, done: this.#done, ...fields })
  }
}
