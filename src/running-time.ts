// Time in which this process ran. A process that is stopped, suspended or blocked must not take its own pause for the silence
// of others: its timers are late, and so is everything that it should have received meanwhile.

/** The longest step of a wait, in milliseconds. A pause of any length counts as one step at most. */
const longestStepMs = 250

/**
 * Calls back once the process has run for so many milliseconds, and after everything that arrived in that time was handled.
 * It does not keep the process alive.
 * @returns cancels the call
 */
export function afterRunning(ms: number, callback: () => void): () => void {
  let leftMs = ms
  let timer: NodeJS.Timeout | undefined
  let last: NodeJS.Immediate | undefined
  const step = () => {
    const stepMs = Math.min(leftMs, longestStepMs)
    timer = setTimeout(() => {
      leftMs -= stepMs
      if (leftMs > 0) step()
      // After a pause, timers run before messages and sockets are read.
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
 * What a promise resolves with, or undefined once the process has run for so many milliseconds, or the signal is aborted.
 * The wait does not keep the process alive.
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

/** Between two looks at the clock, in milliseconds. */
const beatMs = 500
/** A gap between two looks that is longer than this is a pause, in milliseconds. Load alone does not cause one. */
const pauseMs = 1_000
/** Pauses that are remembered. */
const mostPauses = 100

interface Pause {
  readonly endedAt: number
  readonly ms: number
}

/** Finds out when the process stood still. */
class PauseMeter {
  readonly #pauses: Pause[] = []
  #totalMs = 0
  #lookedAt = performance.now()

  constructor() {
    setInterval(() => this.#look(), beatMs).unref()
  }

  /** Milliseconds of all pauses. */
  get totalMs(): number {
    this.#look()
    return this.#totalMs
  }

  /** Milliseconds of the pauses that ended in the last so many milliseconds. */
  recentMs(withinMs: number): number {
    const now = this.#look()
    return this.#pauses.reduce((sum, { endedAt, ms }) => sum + (now - endedAt < withinMs ? ms : 0), 0)
  }

  /** Whoever asks first after a pause finds it: timers may be called in any order. */
  #look(): number {
    const now = performance.now()
    const gapMs = now - this.#lookedAt
    this.#lookedAt = now
    if (gapMs > pauseMs) {
      this.#totalMs += gapMs
      this.#pauses.push({ endedAt: now, ms: gapMs })
      if (this.#pauses.length > mostPauses) this.#pauses.shift()
    }
    return now
  }
}

let meter: PauseMeter | undefined
/** Measures from the first use on. */
const pauses = (): PauseMeter => {
  meter ??= new PauseMeter()
  return meter
}

/** Milliseconds that this process has stood still, since this was asked for first. */
export const pausedMs = (): number => pauses().totalMs

/** The same, of pauses that ended in the last so many milliseconds. */
export const pausedMsWithin = (ms: number): number => pauses().recentMs(ms)
