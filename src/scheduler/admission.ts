// What decides whether a request is taken: how long it would wait by all that is known, and how much room is left to it.

/** Estimates of the past that are remembered, in milliseconds together: the long ones count, and soon replace each other. */
const rememberedMs = 60_000
/** The waits that were, against the estimates, are believed within these bounds. */
const [least, most] = [0.5, 4] as const

/**
 * What an estimate leaves out, learned from how long those waited who were taken: rows that came later and went first,
 * texts that did not fit together.
 */
export class Calibration {
  static readonly most = most
  #waitedMs = 0
  #estimatedMs = 0

  /** Waits as they are, against their estimates. */
  get ratio(): number {
    if (this.#estimatedMs === 0) return 1
    return Math.min(Math.max(this.#waitedMs / this.#estimatedMs, least), most)
  }

  learn(estimatedMs: number, waitedMs: number): void {
    const kept = rememberedMs / (rememberedMs + estimatedMs)
    this.#waitedMs = kept * this.#waitedMs + waitedMs
    this.#estimatedMs = kept * this.#estimatedMs + estimatedMs
  }

  /** A request was dropped after a while. It would have waited longer, and nobody knows how much: as long again. */
  learnLate(estimatedMs: number, waitedMs: number): void {
    this.learn(estimatedMs, 2 * waitedMs)
  }
}

export interface Room {
  /** Rows that may wait at once. */
  readonly limit: number
  /** Rows that wait: all, the tenant's, the task's. */
  readonly all: number
  readonly tenant: number
  readonly task: number
}

/**
 * Rows that a request may bring: who has many waiting leaves as much room free as he takes, a task within its tenant
 * likewise. However many rows a flood sends, the next one finds room. (Dynamic thresholds; Choudhury and Hahne 1998.)
 */
export const roomFor = ({ limit, all, tenant, task }: Room): number => Math.max(0, limit - all - tenant - task)
