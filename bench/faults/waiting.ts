// Waits for a condition that can only be polled.

import { setTimeout as delay } from 'node:timers/promises'

/** @returns milliseconds until the condition holds; undefined if it does not hold in time */
export async function timeUntil(
  holds: () => boolean | Promise<boolean>,
  limitMs: number,
  everyMs = 50,
): Promise<number | undefined> {
  const start = performance.now()
  for (;;) {
    if (await holds()) return performance.now() - start
    if (performance.now() - start > limitMs) return undefined
    await delay(everyMs)
  }
}
