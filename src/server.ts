// A running server, put together: it listens at once, loads the model, answers, and stops without losing a request.

import { join } from 'node:path'
import type { Logger } from 'pino'
import { readBackbone } from './backbones/backbone.js'
import { maxTokensOf } from './backbones/families.js'
import { TextTokenizer } from './backbones/tokenizer.js'
import type { Config } from './config.js'
import { Engines } from './engine/engines.js'
import type { SupervisorReport } from './engine/supervised-engine.js'
import { readFileAs } from './formats/file.js'
import { buildApp } from './http/app.js'
import { Metrics } from './http/metrics.js'
import { Lifecycle, type Services } from './http/services.js'
import { readPrototype } from './petl/prototype-file.js'
import { Problem } from './problem.js'
import { Dispatcher } from './scheduler/dispatcher.js'
import { LmdbStore } from './store/lmdb.js'
import { openMirror } from './store/mirror.js'
import { PostgresStore } from './store/postgres.js'
import type { Store } from './store/store.js'
import { Predictor } from './tasks/predictor.js'
import { Registry } from './tasks/registry.js'
import { TaskStore } from './tasks/store.js'

/** While one batch runs the next one is ready, so that the engine never waits for the host. */
const batchesInFlight = 2

export interface Server {
  readonly app: Awaited<ReturnType<typeof buildApp>>
  readonly services: Services
  /** `http://host:port` */
  readonly address: string
  /** Refuses new work, finishes what was accepted, and releases everything. */
  close(): Promise<void>
}

/**
 * Starts a server; resolves once it is ready.
 * @param signal ends a start that waits for a database
 * @throws Problem for whatever is wrong with settings, model or files
 */
export async function startServer(config: Config, logger: Logger, signal?: AbortSignal): Promise<Server> {
  const lifecycle = new Lifecycle()
  const metrics = new Metrics(lifecycle)
  const giveUp = new AbortController()
  signal?.addEventListener('abort', () => giveUp.abort(), { once: true })
  // The engine's thread loads the model while this one puts the application together.
  const loading = loadServices(config, metrics, logger, giveUp)
  const opening = listen(config, lifecycle, metrics, logger)
  opening.catch(() => giveUp.abort())
  const [loaded, opened] = await Promise.allSettled([loading, opening])
  if (loaded.status === 'rejected' || opened.status === 'rejected') {
    if (loaded.status === 'fulfilled') await loaded.value.release()
    if (opened.status === 'fulfilled') await opened.value.app.close()
    throw opened.status === 'rejected' ? opened.reason : (loaded as PromiseRejectedResult).reason
  }
  const { services, release } = loaded.value
  const { app, address } = opened.value
  for (const id of services.registry.shadowed)
    logger.warn({ task: id }, 'an upload and a file of the masks directory have the same id; the upload is served')
  lifecycle.ready(services)
  logger.info(
    { address, ...services.engines.choice, numerics: config.numerics, tasks: services.registry.count },
    'ready',
  )
  return {
    app,
    services,
    address,
    async close() {
      lifecycle.stop()
      await app.close()
      await release()
    },
  }
}

async function listen({ host, port, ...config }: Config, lifecycle: Lifecycle, metrics: Metrics, logger: Logger) {
  const app = await buildApp({ config, lifecycle, metrics, logger })
  const listenTextResolver = (address: string) => `listening on ${address}; loading the model`
  const address = await app.listen({ host, port, listenTextResolver }).catch((error: Error) => {
    throw new Problem('invalid_setting', `cannot listen on ${host}:${port}: ${error.message}`)
  })
  return { app, address }
}

function openStore({ dataDir, databaseUrl }: Config, logger: Logger, signal: AbortSignal): Promise<Store> {
  if (databaseUrl === '') return Promise.resolve(LmdbStore.open(dataDir))
  return PostgresStore.open({ url: databaseUrl, mirror: openMirror(dataDir, logger), logger, signal })
}

async function loadServices(
  config: Config,
  metrics: Metrics,
  logger: Logger,
  giveUp: AbortController,
): Promise<{ services: Services; release: () => Promise<void> }> {
  const { modelDir, masksDir, slots, threads, provider, numerics, maxBatchTokens, maxQueueRows } = config
  const prototype = await readFileAs(join(modelDir, 'prototype.safetensors'), 'invalid_prototype', readPrototype)
  const backbone = await readBackbone(modelDir)
  const opening = openStore(config, logger, giveUp.signal)
  const runTimeoutMs = config.engineTimeoutMs
  const starting = Engines.start(
    config.engines,
    { backbone, prototype, provider, numerics, slots, threads, runTimeoutMs },
    (engine) => supervision(logger.child({ engine }), metrics),
  )
  const release = async () => {
    giveUp.abort()
    const [engines, store] = await Promise.all([starting.catch(() => undefined), opening.catch(() => undefined)])
    await engines?.close()
    await store?.close()
  }
  try {
    const tokenizer = new TextTokenizer(join(modelDir, 'tokenizer.json'), maxTokensOf(backbone.config))
    const [engines, store] = await Promise.all([starting, opening])
    const registry = await Registry.open(prototype, new TaskStore(store), masksDir, config)
    const limits = { maxTokens: maxBatchTokens, maxMasks: slots, maxQueueRows, batchesInFlight }
    const dispatcher = new Dispatcher(engines.all[0], limits)
    dispatcher.onBatch = (report) => metrics.batch(report)
    dispatcher.onDropped = (reason, rows) => metrics.dropped(reason, rows)
    return {
      services: { store, registry, engines, dispatcher, predictor: new Predictor(registry, tokenizer, dispatcher) },
      release,
    }
  } catch (error) {
    await release()
    throw error
  }
}

const supervision = (logger: Logger, metrics: Metrics): SupervisorReport => ({
  lost(reason) {
    metrics.engineLost()
    logger.error({ reason }, 'an engine is lost: its batches fail, and a new one is started')
  },
  replaced(ms) {
    logger.info({ after_ms: Math.round(ms) }, 'a new engine serves')
  },
  notReplaced(reason, retryMs) {
    logger.error({ reason, retry_ms: retryMs }, 'a new engine did not start; it is tried again')
  },
})
