// Timeouts that count only the time in which this process ran. A process that was stopped, suspended or blocked must not
// mistake its own pause for a silent peer: its timers are late, and messages that arrived meanwhile are not yet read.

/** A wait consists of steps of at most this length, in milliseconds. A pause of any length counts as at most one step. */
const maxStepMs = 250

/**
 * Calls back once the process has run for `ms` milliseconds and has handled everything that arrived in that time. The wait
 * does not keep the process alive.
 * @returns cancels the call
 */
export function afterRunning(ms: number, callback: () => void): () => void {
  let leftMs = ms
  let timer: NodeJS.Timeout | undefined
  let last: NodeJS.Immediate | undefined
  const step = () => {
    const stepMs = Math.min(leftMs, maxStepMs)
    timer = setTimeout(() => {
      leftMs -= stepMs
      if (leftMs > 0) step()
      // After a pause, timers run before messages and sockets are read. setImmediate runs after them.
      else last = setImmediate(callback)
    }, stepMs).unref()
  }
  step()
  return () => {
    clearTimeout(timer)
    clearImmediate(last)
  }
}

/**
 * Waits for a promise. Resolves with undefined instead once the process has run for `ms` milliseconds or the signal is
 * aborted. The wait does not keep the process alive.
 */
export async function within<T>(ms: number, promise: Promise<T>, signal?: AbortSignal): Promise<T | undefined> {
  let giveUp = () => {}
  const givenUp = new Promise<undefined>((resolve) => {
    giveUp = () => resolve(undefined)
  })
  const cancel = afterRunning(ms, giveUp)
  signal?.addEventListener('abort', giveUp)
  try {
    return await Promise.race([promise, givenUp])
  } finally {
    cancel()
    signal?.removeEventListener('abort', giveUp)
  }
}

/** Interval at which the clock is read, in milliseconds. */
const intervalMs = 500
/** A longer gap between two readings counts as a pause, in milliseconds. Load alone does not cause such a gap. */
const minPauseMs = 1_000
/** Number of pauses that are remembered. */
const maxPauses = 100

interface Pause {
  readonly endedAt: number
  readonly ms: number
}

/** Detects pauses: times in which the process did not run. */
class PauseMeter {
  readonly #pauses: Pause[] = []
  #totalMs = 0
  #readAt = performance.now()

  constructor() {
    setInterval(() => this.#readClock(), intervalMs).unref()
  }

  /** Sum of all pauses, in milliseconds. */
  get totalMs(): number {
    this.#readClock()
    return this.#totalMs
  }

  /** Sum of the pauses that ended in the last `withinMs` milliseconds. */
  recentMs(withinMs: number): number {
    const now = this.#readClock()
    return this.#pauses.reduce((sum, { endedAt, ms }) => sum + (now - endedAt < withinMs ? ms : 0), 0)
  }

  /** Every query reads the clock too: after a pause, other timers may run before the interval. */
  #readClock(): number {
    const now = performance.now()
    const gapMs = now - this.#readAt
    this.#readAt = now
    if (gapMs > minPauseMs) {
      this.#totalMs += gapMs
      this.#pauses.push({ endedAt: now, ms: gapMs })
      if (this.#pauses.length > maxPauses) this.#pauses.shift()
    }
    return now
  }
}

let meter: PauseMeter | undefined
/** The meter starts with its first use. */
const pauses = (): PauseMeter => {
  meter ??= new PauseMeter()
  return meter
}

/** Sum of the pauses of this process since the first use, in milliseconds. */
export const pausedMs = (): number => pauses().totalMs

/** Sum of the pauses that ended in the last `ms` milliseconds, in milliseconds. */
export const pausedMsWithin = (ms: number): number => pauses().recentMs(ms)
