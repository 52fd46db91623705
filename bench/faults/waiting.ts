// Waiting for something that is only seen by looking.

import { setTimeout as delay } from 'node:timers/promises'

/** @returns milliseconds until it holds; undefined if it does not in time */
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
