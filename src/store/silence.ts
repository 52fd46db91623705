// A timeout that counts from the last sign of life, and not while this process was stopped: after a pause of the process
// or its machine, answers that came meanwhile are still to be read.

/** A timer that is later than this, in milliseconds, did not run because the process did not. */
const lateMs = 1_000

/**
 * Calls `onSilence` once nothing was heard for a time.
 * @param heardAt of `performance.now()`
 * @returns ends the wait
 */
export function onSilence(ms: number, heardAt: () => number, onSilence: () => void): () => void {
  let timer: NodeJS.Timeout
  const waitFrom = (start: number) => {
    const due = start + ms
    timer = setTimeout(() => {
      const now = performance.now()
      if (now - due > lateMs) waitFrom(now)
      else if (heardAt() > start) waitFrom(heardAt())
      else onSilence()
    }, due - performance.now())
  }
  waitFrom(performance.now())
  return () => clearTimeout(timer)
}
