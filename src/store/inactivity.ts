// A timeout that counts from the last activity of a peer. Time in which this process did not run does not count: after
// a pause of the process or its machine, data that arrived meanwhile is still to be read.

import { afterRunning } from '../running-time.js'

/** How often activity is checked, in milliseconds. A timeout fires at most this much late. */
const checkMs = 250

/**
 * Calls back once there was no activity for `ms` milliseconds in which the process ran. It does not keep the process
 * alive.
 * @param progress a number that changes with every activity, such as the bytes received
 * @returns cancels the call
 */
export function afterInactivity(ms: number, progress: () => number, callback: () => void): () => void {
  let cancel = () => {}
  const wait = (leftMs: number, before: number) => {
    cancel = afterRunning(Math.min(leftMs, checkMs), () => {
      const now = progress()
      const stillLeftMs = now === before ? leftMs - checkMs : ms
      if (stillLeftMs > 0) wait(stillLeftMs, now)
      else callback()
    })
  }
  wait(ms, progress())
  return () => cancel()
}
