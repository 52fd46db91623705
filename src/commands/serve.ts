// `propetl serve`: a server in this process, from start to end. However it ends, the last line of the log says why.

import { once } from 'node:events'
import { isDeepStrictEqual } from 'node:util'
import type { Logger } from 'pino'
import { type Config, flagOf, settingNames } from '../config.js'
import { openLog } from '../http/logger.js'
import { Problem } from '../problem.js'
import { type Server, startServer } from '../server.js'
import { killAfter, killNow, threadsIdle } from '../shutdown.js'
import { handleSignals, type StopSignal } from '../signals.js'

/** By how much the watchdog's thread is later than the timer of the main thread, in milliseconds. */
const watchdogDelayMs = 500

/**
 * Ends the process: with 0 after a signal to stop, once accepted work is done; with 1 if the server does not start, or
 * stops for an error that nothing caught. By SIGKILL if it has not ended in time, or at a second signal.
 * @param reload reads the settings again
 */
export async function serve(config: Config, reload: () => Config): Promise<void> {
  const log = openLog(config.logLevel, process.stdout.isTTY)
  const { logger } = log
  const { shutdownTimeoutMs } = config
  /** Aborted with the signal or the error that the server stops for. */
  const stop = new AbortController()
  let server: Server | undefined

  /** Named once: what goes wrong while the process ends for it is a consequence. */
  let isNamed = false
  const nameCause = (fields: object, message: string) => {
    if (isNamed) return
    isNamed = true
    if (logger.isLevelEnabled('fatal')) logger.fatal(fields, message)
    else console.error(`propetl: ${message}`)
  }
  const kill = async (fields: object, message: string) => {
    nameCause(fields, message)
    await log.flush()
    killNow()
  }
  /** From now on the process ends within the time to stop, whatever hangs. */
  const startTimeLimit = () => {
    const message = `ended at once: it had not stopped within ${shutdownTimeoutMs} ms, the limit of --shutdown-timeout-ms`
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
        ? kill({ signal: reason }, 'ended at once: it was told a second time to stop')
        : kill({ err: reason }, 'ended at once: an error that nothing caught, while stopping')
    startTimeLimit()
    const what = server ? 'no connection is kept, accepted work is finished' : 'the start is given up'
    if (typeof reason === 'string') logger.info({ signal: reason }, `stopping: ${what}`)
    else logger.error({ err: reason }, `stopping after an error that nothing caught: ${what}`)
    stop.abort(reason)
  }

  process.on('uncaughtException', (error: unknown) =>
    beginStop(error instanceof Error ? error : new Error(String(error))),
  )
  handleSignals({
    stop: beginStop,
    reload: async () => {
      reloadSettings(config, reload, logger)
      await server?.reloadCertificate()
    },
    ignore: (signal) => logger.info({ signal }, 'the signal is ignored'),
  })
  try {
    server = await startServer(config, logger, stop.signal)
    if (!stop.signal.aborted) await once(stop.signal, 'abort')
    await server.close()
  } catch (error) {
    const isGivenUp = stop.signal.aborted && error instanceof Problem && error.code === 'shutting_down'
    if (!stop.signal.aborted) startTimeLimit()
    // A signal to stop is from now on a second one.
    stop.abort(error)
    if (!isGivenUp) nameFailure(server ? 'the server did not stop in good order' : 'the server did not start', error)
  }
  const { reason } = stop.signal
  if (reason instanceof Problem) nameCause({ code: reason.code }, `stopped: ${reason.message}`)
  else if (reason instanceof Error) nameCause({ reason: reason.message }, 'stopped after an error that nothing caught')
  // process.exit() would wait for threads that hang.
  if (server?.unfinished.includes('engines'))
    return kill({ waits_for: ['engines'] }, 'ended at once: everything but engines that hang has ended')
  await exit(isNamed ? 1 : 0)

  function nameFailure(what: string, error: unknown) {
    if (error instanceof Problem) nameCause({ code: error.code }, `${what}: ${error.message}`)
    else nameCause({ err: error }, what)
  }
}

/** Takes the log level, the only setting that can change while a server runs. */
function reloadSettings(config: Config, reload: () => Config, logger: Logger): void {
  try {
    const next = reload()
    logger.level = next.logLevel
    logger.info({ log_level: next.logLevel }, 'the settings were read again')
    const changed = settingNames.filter((name) => name !== 'logLevel' && !isDeepStrictEqual(next[name], config[name]))
    if (changed.length > 0)
      logger.warn(
        { settings: changed.map(flagOf) },
        'these settings changed, and take effect when the server starts anew',
      )
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    logger.error({ reason: error.message }, 'the settings stay as they were')
  }
}
