// The dispatcher's clock and timers. Tests replace it with a virtual clock.

import { pausedMs } from '../running-time.js'

export interface Clock {
  /** Milliseconds since a fixed, arbitrary time. */
  now(): number
  /**
   * Calls back after a time in milliseconds. With 0 the call comes as soon as events that have arrived are handled.
   * @returns cancels the call
   */
  after(ms: number, callback: () => void): () => void
  /** Total time in which the process did not run, for example because it was suspended; see running-time.ts. */
  pausedMs(): number
}

export const realClock: Clock = {
  now: () => performance.now(),
  pausedMs,
  after(ms, callback) {
    if (ms <= 0) {
      const immediate = setImmediate(callback)
      return () => clearImmediate(immediate)
    }
    const timeout = setTimeout(callback, ms)
    return () => clearTimeout(timeout)
  },
}
