// Work in steps: a generator that pauses at each `yield`, so that the event loop can handle events between two steps
// (costs/sliced-work.ts). A step takes well below a millisecond, unless it is a single call that cannot be divided.

export type Steps<T> = Generator<void, T, void>

/** Runs all steps without a pause. Use it for small work, and where nothing else needs the event loop. */
export function finish<T>(steps: Steps<T>): T {
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
  }
}
