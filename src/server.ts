// A running server, put together: it listens at once, loads the model, answers, and stops without losing a request.

import { join } from 'node:path'
import type { Logger } from 'pino'
import { readBackbone } from './backbones/backbone.js'
import { maxTokensOf } from './backbones/families.js'
import { TextTokenizer } from './backbones/tokenizer.js'
import type { Config } from './config.js'
import { Engine } from './engine/engine.js'
import { readFileAs } from './formats/file.js'
import { buildApp } from './http/app.js'
import { Metrics } from './http/metrics.js'
import { Lifecycle, type Services } from './http/services.js'
import { readPrototype } from './petl/prototype-file.js'
import { Problem } from './problem.js'
import { CostModel, efficientTokens } from './scheduler/cost.js'
import { Dispatcher } from './scheduler/dispatcher.js'
import { LmdbStore } from './store/lmdb.js'
import { Predictor } from './tasks/predictor.js'
import { Registry } from './tasks/registry.js'
import { TaskStore } from './tasks/store.js'

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
 * @throws Problem for whatever is wrong with settings, model or files
 */
export async function startServer(config: Config, logger: Logger): Promise<Server> {
  const lifecycle = new Lifecycle()
  const metrics = new Metrics(lifecycle)
  // The engine's thread loads the model while this one puts the application together.
  const loading = loadServices(config, metrics)
  const opening = listen(config, lifecycle, metrics, logger)
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
  const { maxTokens: batchTokens } = services.dispatcher.options
  logger.info({ address, ...services.engine.choice, tasks: services.registry.count, batchTokens }, 'ready')
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

async function loadServices(
  config: Config,
  metrics: Metrics,
): Promise<{ services: Services; release: () => Promise<void> }> {
  const { modelDir, masksDir, dataDir, slots, threads, provider, maxBatchTokens, maxQueueRows } = config
  const prototype = await readFileAs(join(modelDir, 'prototype.safetensors'), 'invalid_prototype', readPrototype)
  const backbone = await readBackbone(modelDir)
  const store = LmdbStore.open(dataDir)
  const starting = Engine.start({ backbone, prototype, provider, slots, threads })
  const release = async () => {
    const engine = await starting.catch(() => undefined)
    await engine?.close()
    await store.close()
  }
  try {
    const tokenizer = new TextTokenizer(join(modelDir, 'tokenizer.json'), maxTokensOf(backbone.config))
    const [engine, registry] = await Promise.all([
      starting,
      Registry.open(prototype, new TaskStore(store), masksDir, config),
    ])
    const maxTokens = maxBatchTokens === 'auto' ? efficientTokens(engine.timings) : maxBatchTokens
    const limits = { maxTokens, maxMasks: slots, maxQueueRows }
    const dispatcher = new Dispatcher([engine], limits, new CostModel(engine.timings))
    dispatcher.onBatch = (report) => metrics.batch(report)
    dispatcher.onDropped = (reason, rows) => metrics.dropped(reason, rows)
    dispatcher.onRefused = (reason) => metrics.refused(reason)
    return {
      services: { registry, engine, dispatcher, predictor: new Predictor(registry, tokenizer, dispatcher) },
      release,
    }
  } catch (error) {
    await release()
    throw error
  }
}
