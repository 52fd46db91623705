// What the server reports while it starts and runs: the download of its model, and engines that are lost and replaced.

import type { Logger } from 'pino'
import type { LossCause } from './engine/engine-lost.js'
import type { SupervisorReport } from './engine/supervised-engine.js'
import type { Metrics } from './http/metrics.js'
import type { FetchOptions } from './hub/fetch-model.js'

/** Reports the download of a model from time to time. */
export function downloadLog(model: string, logger: Logger): Pick<FetchOptions, 'onProgress' | 'onWarning'> {
  const pauseMs = 5_000
  let last = Number.NEGATIVE_INFINITY
  return {
    onProgress({ done, total }) {
      const now = performance.now()
      if (done < total && now - last < pauseMs) return
      last = now
      const percent = Math.floor((100 * done) / total)
      logger.info({ model, bytes: done, total_bytes: total }, `downloading the model: ${percent} %`)
    },
    onWarning: (reason) => logger.warn({ model, reason }, 'the model was not checked for changes'),
  }
}

/** Writes the engine's number into each line. A child logger would not follow later changes of the log level. */
export const supervision = (engine: number, logger: Logger, metrics: Metrics): SupervisorReport => ({
  lost({ cause, reason }) {
    metrics.engineLost(cause)
    logger.error({ engine, cause, reason }, `${lossLines[cause]}: its batches fail, and a new engine is started`)
  },
  replaced(ms) {
    logger.info({ engine, after_ms: Math.round(ms) }, 'a new engine has started')
  },
  notReplaced(cause, reason, retryMs) {
    metrics.engineNotReplaced(cause)
    const what = {
      start_failed: 'a new engine did not start; the start is retried',
      left_behind: 'no new engine is started while abandoned threads have not ended; the start is retried',
    }
    logger.error({ engine, cause, reason, retry_ms: retryMs }, what[cause])
  },
})

const lossLines: Readonly<Record<LossCause, string>> = {
  hung: 'an engine hangs and is abandoned',
  failed: 'an engine failed',
  out_of_memory: 'an engine ran out of memory',
  provider_lost: 'an engine lost its device',
}
