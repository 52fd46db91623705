// `propetl serve`: a server in this process, from start to SIGTERM.

import closeWithGrace from 'close-with-grace'
import type { Config } from '../config.js'
import { createLogger } from '../http/logger.js'
import { Problem } from '../problem.js'
import { startServer } from '../server.js'

/** Exits 0 after SIGTERM or SIGINT once accepted work is done, 1 if that takes too long. */
export async function serve(config: Config): Promise<void> {
  const logger = createLogger(config.logLevel, process.stdout.isTTY)
  const start = new AbortController()
  const started = startServer(config, logger, start.signal)
  closeWithGrace({ delay: config.shutdownTimeoutMs, logger: false }, async ({ signal, err }) => {
    if (err) logger.fatal({ err }, 'stopping after an error that nothing caught')
    else logger.info({ signal }, 'stopping: no connection is kept, accepted work is finished')
    start.abort()
    const server = await started.catch(unlessStopped)
    await server?.close()
    logger.info('stopped')
  })
  await started.catch(unlessStopped)
}

/** A start that was given up on SIGTERM is no failure. */
function unlessStopped(error: unknown): undefined {
  if (!(error instanceof Problem && error.code === 'shutting_down')) throw error
}
