// Signal handling of the server. Until the server sets its handlers, a stop signal exits at once, because no work has been
// accepted yet. This module runs before all others, so it may import only built-in modules.
//
// The signals of native faults (SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT) and SIGTRAP must not have a listener: the fault
// would be raised again and again, and the process would neither exit nor work.

export type StopSignal = 'SIGTERM' | 'SIGINT' | 'SIGQUIT'

export interface SignalHandlers {
  readonly stop: (signal: StopSignal) => void
  readonly reload: (signal: 'SIGHUP') => void
  /** By default SIGUSR1 would open a debugger, and SIGUSR2 would end the process. */
  readonly ignore: (signal: 'SIGUSR1' | 'SIGUSR2') => void
}

let handlers: SignalHandlers = {
  stop: () => process.exit(0),
  // Nothing has been read yet, so nothing needs to be read again.
  reload: () => {},
  ignore: () => {},
}

/** Installs the listeners. Call it once. Process 1 of a container ignores signals without a listener. */
export function listenToSignals(): void {
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGQUIT'] as const) process.on(signal, () => handlers.stop(signal))
  process.on('SIGHUP', () => handlers.reload('SIGHUP'))
  for (const signal of ['SIGUSR1', 'SIGUSR2'] as const) process.on(signal, () => handlers.ignore(signal))
}

export function handleSignals(all: SignalHandlers): void {
  handlers = all
}
