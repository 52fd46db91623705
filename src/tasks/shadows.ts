// Predictions of candidates on the texts of requests, in the background: nobody sees them, and only how often they differ
// from those of the active version is counted. They are dropped under load.

import { setTimeout } from 'node:timers/promises'
import { DutyCycle } from '../costs/duty-cycle.js'
import type { Owner } from '../owner.js'
import { Problem, reasonOf } from '../problem.js'
import type { Store } from '../store/store.js'
import { isSame } from './comparisons.js'
import type { PredictOptions, Predictor, Shadowed } from './predictor.js'
import { countComparisons } from './versions.js'

/** Most texts of one request that are compared. */
const mostTexts = 32
/** Most of the time of this process that comparisons take. There is one at a time. */
const shareOfTime = 0.1
/** How long a candidate's prediction may take, in milliseconds. */
const timeoutMs = 1_000
/** Between two times that the counts are stored, in milliseconds. */
const storeEveryMs = 2_000
/** Most candidates that are counted between two times that the counts are stored. */
const mostCounted = 1_000

/** `dropped`: there was too much load. `failed`: the candidate cannot predict the text. */
export const shadowOutcomes = ['same', 'different', 'dropped', 'failed'] as const
export type ShadowOutcome = (typeof shadowOutcomes)[number]

/** Comparisons of one candidate that are not in the store yet. */
export interface ShadowCount {
  readonly owner: Owner
  readonly task: string
  /** Digest of the candidate. */
  readonly candidate: string
  readonly compared: number
  readonly differ: number
}

/** The counts of this process, and of the processes that report to it. */
export class ShadowCounts {
  #counts = new Map<string, ShadowCount>()

  add(...counts: readonly ShadowCount[]): void {
    for (const count of counts) {
      const name = `${count.owner}/${count.task}/${count.candidate}`
      const known = this.#counts.get(name)
      if (known === undefined && this.#counts.size >= mostCounted) continue
      const { compared = 0, differ = 0 } = known ?? {}
      this.#counts.set(name, { ...count, compared: compared + count.compared, differ: differ + count.differ })
    }
  }

  /** Returns the counts, and starts at 0 again. */
  take(): ShadowCount[] {
    const counts = [...this.#counts.values()]
    this.#counts = new Map()
    return counts
  }

  /** Adds the counts to the trials of the candidates in the store. They are lost if that fails. */
  async store(store: Store): Promise<void> {
    const counts = this.take()
    for (let first = 0; first < counts.length; first += 100)
      await store.change((records) => {
        for (const { owner, task, candidate, ...count } of counts.slice(first, first + 100))
          countComparisons(records, owner, task, candidate, count)
      })
  }
}

/** Stores the counts again and again, and once more when the signal aborts. */
export async function storeCounts(
  counts: ShadowCounts,
  store: Store,
  logger: { warn(details: object, message: string): void },
  signal: AbortSignal,
): Promise<void> {
  for (let stopped = false; !stopped; ) {
    await setTimeout(storeEveryMs, undefined, { signal, ref: false }).catch(() => {})
    stopped = signal.aborted
    await counts.store(store).catch((error: unknown) => {
      logger.warn({ reason: reasonOf(error) }, 'comparisons with candidates could not be stored and are not counted')
    })
  }
}

export class Shadows {
  readonly counts = new ShadowCounts()
  readonly #cycle = new DutyCycle(shareOfTime)
  onOutcome: (outcome: ShadowOutcome, texts: number) => void = () => {}

  constructor(readonly predictor: Predictor) {}

  /**
   * Compares predictions with those of candidates. Call it once the response is sent.
   * @param options those of the request
   */
  compare(shadowed: readonly Shadowed[], options: PredictOptions): void {
    if (shadowed.length === 0) return
    const some = shadowed.slice(0, mostTexts)
    if (this.#cycle.free) void this.#cycle.run(() => this.#compare(some, options))
    else this.onOutcome('dropped', some.length)
  }

  async #compare(shadowed: readonly Shadowed[], { signal: _, ...options }: PredictOptions): Promise<void> {
    const { owner } = options.account
    try {
      const inputs = shadowed.map(({ input, candidate }) => ({ ...input, version: { digest: candidate } }))
      const { predicted, holding } = await this.predictor.predict(inputs, {
        ...options,
        deadline: performance.now() + timeoutMs,
        background: true,
      })
      holding.release()
      for (const [index, { input, prediction, candidate }] of shadowed.entries()) {
        const other = predicted[index]
        if (other === undefined) continue
        const same = isSame(prediction, other.prediction)
        this.onOutcome(same ? 'same' : 'different', 1)
        this.counts.add({ owner, task: input.task, candidate, compared: 1, differ: same ? 0 : 1 })
      }
    } catch (error) {
      this.onOutcome(isLoad(error) ? 'dropped' : 'failed', shadowed.length)
    }
  }
}

const isLoad = (error: unknown): boolean =>
  error instanceof Problem && ['overloaded', 'rate_limited', 'deadline_exceeded', 'engine_lost'].includes(error.code)
