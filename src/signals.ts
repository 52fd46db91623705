// What signals do to a server. Until it takes over, a signal to stop ends the process: nothing was accepted yet.
// Only built-in modules may be imported here, for this comes before everything else.
//
// The signals of native faults (SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT) and SIGTRAP must not get a listener: the fault
// would be raised again and again, and the process would neither end nor work.

export type StopSignal = 'SIGTERM' | 'SIGINT' | 'SIGQUIT'

export interface SignalHandlers {
  readonly stop: (signal: StopSignal) => void
  readonly reload: (signal: 'SIGHUP') => void
  /** Signals that would end the process or, SIGUSR1, open a debugger. */
  readonly ignore: (signal: 'SIGUSR1' | 'SIGUSR2') => void
}

let handlers: SignalHandlers = {
  stop: () => process.exit(0),
  // What would be read again was not read yet.
  reload: () => {},
  ignore: () => {},
}

/** Call it once. Process 1 of a container loses signals that nobody listens to. */
export function listenToSignals(): void {
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGQUIT'] as const) process.on(signal, () => handlers.stop(signal))
  process.on('SIGHUP', () => handlers.reload('SIGHUP'))
  for (const signal of ['SIGUSR1', 'SIGUSR2'] as const) process.on(signal, () => handlers.ignore(signal))
}

export function handleSignals(all: SignalHandlers): void {
  handlers = all
}
