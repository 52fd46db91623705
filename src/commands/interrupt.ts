// Interrupting a command: the first Ctrl-C (SIGINT) or SIGTERM aborts a signal, so that the command can keep what it has. A
// second one ends the process.

/** Thrown when a command was interrupted before it had a result. */
export class Interrupted extends Error {}

const signals = ['SIGINT', 'SIGTERM'] as const

/** Runs `work` with a signal that the first Ctrl-C or SIGTERM aborts. */
export async function untilInterrupted<T>(work: (signal: AbortSignal) => Promise<T>, onStop: () => void): Promise<T> {
  const stop = new AbortController()
  const stopListening = () => {
    for (const signal of signals) process.off(signal, onInterrupt)
  }
  const onInterrupt = () => {
    stopListening()
    onStop()
    stop.abort()
  }
  for (const signal of signals) process.on(signal, onInterrupt)
  try {
    return await work(stop.signal)
  } finally {
    stopListening()
  }
}
