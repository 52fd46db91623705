// Work in steps: a generator that pauses at each `yield`, so that the event loop can handle what has arrived
// (costs/sliced-work.ts). A step between two pauses takes well below a millisecond, or is one call that cannot be divided.

export type Steps<T> = Generator<void, T, void>

/** Does all steps without a pause: for small work, and where nobody else waits for the event loop. */
export function finish<T>(steps: Steps<T>): T {
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
  }
}
