// A signal like AbortSignal, for requests of other processes. An AbortSignal and its listener take 5 µs, which is a large part
// of the cost of such a request.

import type { CancelSignal } from '../scheduler/submission.js'

export class Cancellation implements CancelSignal {
  #listeners: (() => void)[] = []
  aborted = false
  reason: unknown

  addEventListener(_type: 'abort', listener: () => void): void {
    this.#listeners.push(listener)
  }

  removeEventListener(_type: 'abort', listener: () => void): void {
    this.#listeners = this.#listeners.filter((other) => other !== listener)
  }

  /** @param reason a Problem if the server is at fault */
  abort(reason?: unknown): void {
    if (this.aborted) return
    this.aborted = true
    this.reason = reason
    for (const listener of this.#listeners) listener()
  }
}
