// Ctrl-C during training: the first one stops training after the current step, a second one ends the process.

/** Thrown when a command was interrupted before it had a result. */
export class Interrupted extends Error {}

/** Runs `work` with a signal that the first Ctrl-C aborts. */
export async function untilInterrupted<T>(work: (signal: AbortSignal) => Promise<T>, onStop: () => void): Promise<T> {
  const stop = new AbortController()
  const onInterrupt = () => {
    onStop()
    stop.abort()
  }
  process.once('SIGINT', onInterrupt)
  try {
    return await work(stop.signal)
  } finally {
    process.off('SIGINT', onInterrupt)
  }
}
