// Ctrl-C while something is being learned: the first one stops it in good order, a second one ends the process.

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
