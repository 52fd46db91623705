// Time, as the dispatcher sees it: a test brings its own.

import { pausedMs } from '../running-time.js'

export interface Clock {
  /** Milliseconds since some beginning. */
  now(): number
  /**
   * Calls back after so many milliseconds; with 0 when the events that have arrived are handled.
   * @returns takes the call back
   */
  after(ms: number, callback: () => void): () => void
  /** Milliseconds, of all that have passed, in which the process did not run. */
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
