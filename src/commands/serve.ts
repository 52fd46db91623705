// `propetl serve`: runs a server in this process. The last line of the log says why the process ended.

import { once } from 'node:events'
import { isDeepStrictEqual } from 'node:util'
import type { Logger } from 'pino'
import type { Config } from '../config.js'
import { openLog } from '../http/logger.js'
import { Problem } from '../problem.js'
import { type Server, startServer } from '../server.js'
import { flagOf, settingNames } from '../settings.js'
import { killAfter, killNow, threadsIdle } from '../shutdown.js'
import { handleSignals, type StopSignal } from '../signals.js'

/** The watchdog thread acts this many milliseconds after the timer of the main thread. */
const watchdogDelayMs = 500

/**
 * Runs a server and then ends the process: with code 0 after a signal to stop, when accepted requests are finished; with
 * code 1 if the server does not start, or stops after an uncaught error; with SIGKILL after the shutdown timeout, or
 * after a second signal.
 * @param reload reads the settings again
 */
export async function serve(config: Config, reload: () => Config): Promise<void> {
  const log = openLog(config.logLevel, process.stdout.isTTY)
  const { logger } = log
  const { shutdownTimeoutMs } = config
  /** Aborted with the signal or the error that stops the server. */
  const stop = new AbortController()
  let server: Server | undefined

  /** Only the first cause is logged, because later errors are its consequences. */
  let isCauseLogged = false
  const logCause = (fields: object, message: string) => {
    if (isCauseLogged) return
    isCauseLogged = true
    if (logger.isLevelEnabled('fatal')) logger.fatal(fields, message)
    else console.error(`propetl: ${message}`)
  }
  const kill = async (fields: object, message: string) => {
    logCause(fields, message)
    await log.flush()
    server?.kill()
    killNow()
  }
  /** From this call on, the process ends within the shutdown timeout, even if a thread hangs. */
  const startTimeLimit = () => {
    const message = `killed: shutdown took longer than --shutdown-timeout-ms (${shutdownTimeoutMs} ms)`
    const waitsFor = () => (server ? server.unfinished : ['start'])
    setTimeout(() => kill({ waits_for: waitsFor() }, message), shutdownTimeoutMs)
    killAfter(shutdownTimeoutMs + watchdogDelayMs, log.lineOf({ waits_for: ['main thread'] }, message))
  }
  const exit = async (code: number) => {
    await threadsIdle()
    if (code === 0) logger.info('stopped')
    await log.flush()
    process.exit(code)
  }
  const beginStop = (reason: StopSignal | Error) => {
    if (stop.signal.aborted)
      return typeof reason === 'string'
        ? kill({ signal: reason }, 'killed: a second signal to stop arrived')
        : kill({ err: reason }, 'killed: an uncaught error occurred during shutdown')
    startTimeLimit()
    const what = server ? 'finishing accepted requests' : 'the start is cancelled'
    if (typeof reason === 'string') logger.info({ signal: reason }, `stopping: ${what}`)
    else logger.error({ err: reason }, `stopping after an uncaught error: ${what}`)
    stop.abort(reason)
  }

  process.on('uncaughtException', (error: unknown) =>
    beginStop(error instanceof Error ? error : new Error(String(error))),
  )
  handleSignals({
    stop: beginStop,
    reload: async () => {
      reloadSettings(config, reload, logger)
      server?.setLogLevel(logger.level as Config['logLevel'])
      await server?.reloadCertificate()
    },
    ignore: (signal) => logger.info({ signal }, 'signal ignored'),
  })
  try {
    server = await startServer(config, logger, { signal: stop.signal, writeLines: log.writeLines })
    if (!stop.signal.aborted) await once(stop.signal, 'abort')
    await server.close()
  } catch (error) {
    const isCancelled = stop.signal.aborted && error instanceof Problem && error.code === 'shutting_down'
    if (!stop.signal.aborted) startTimeLimit()
    // From here on, a signal to stop counts as the second one.
    stop.abort(error)
    if (!isCancelled) logFailure(server ? 'the server did not shut down cleanly' : 'the server did not start', error)
  }
  const { reason } = stop.signal
  if (reason instanceof Problem) logCause({ code: reason.code }, `stopped: ${reason.message}`)
  else if (reason instanceof Error) logCause({ reason: reason.message }, 'stopped after an uncaught error')
  // process.exit() would wait for hung threads.
  if (server?.unfinished.includes('engines'))
    return kill({ waits_for: ['engines'] }, 'killed: shutdown is complete except for hung engines')
  await exit(isCauseLogged ? 1 : 0)

  function logFailure(what: string, error: unknown) {
    if (error instanceof Problem) logCause({ code: error.code }, `${what}: ${error.message}`)
    else logCause({ err: error }, what)
  }
}

/** Applies the log level, the only setting that can change while a server runs. */
function reloadSettings(config: Config, reload: () => Config, logger: Logger): void {
  try {
    const next = reload()
    logger.level = next.logLevel
    logger.info({ log_level: next.logLevel }, 'the settings were reloaded')
    const changed = settingNames.filter((name) => name !== 'logLevel' && !isDeepStrictEqual(next[name], config[name]))
    if (changed.length > 0)
      logger.warn({ settings: changed.map(flagOf) }, 'these settings changed and take effect after a restart')
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    logger.error({ reason: error.message }, 'the settings could not be reloaded and stay unchanged')
  }
}
