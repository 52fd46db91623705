// A running server, put together: it listens at once, loads the model, answers, and stops without losing a request.

import { join } from 'node:path'
import type { Logger } from 'pino'
import { readBackbone } from './backbones/backbone.js'
import { TextTokenizer } from './backbones/tokenizer.js'
import type { Config } from './config.js'
import { Engine } from './engine/engine.js'
import { readFileAs } from './formats/file.js'
import { readPrototype } from './formats/prototype.js'
import { buildApp } from './http/app.js'
import { Metrics } from './http/metrics.js'
import { Lifecycle, type Services } from './http/services.js'
import { Problem } from './problem.js'
import { Dispatcher } from './scheduler/dispatcher.js'
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
 * @throws Problem for whatever is wrong with settings, model or files
 */
export async function startServer(config: Config, logger: Logger): Promise<Server> {
  const lifecycle = new Lifecycle()
  const metrics = new Metrics(lifecycle)
  const app = await buildApp({ config, lifecycle, metrics, logger })
  const { host, port } = config
  const listenTextResolver = (address: string) => `listening on ${address}; loading the model`
  const address = await app.listen({ host, port, listenTextResolver }).catch((error: Error) => {
    throw new Problem('invalid_setting', `cannot listen on ${host}:${port}: ${error.message}`)
  })
  const { services, release } = await loadServices(config, metrics).catch(async (error: unknown) => {
    await app.close()
    throw error
  })
  for (const id of services.registry.shadowed)
    logger.warn({ task: id }, 'an upload and a file of the masks directory have the same id; the upload is served')
  lifecycle.ready(services)
  logger.info({ address, ...services.engine.choice, tasks: services.registry.count }, 'ready')
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

async function loadServices(
  config: Config,
  metrics: Metrics,
): Promise<{ services: Services; release: () => Promise<void> }> {
  const { modelDir, masksDir, dataDir, slots, threads, provider, maxBatchTokens, maxQueueRows } = config
  const prototype = await readFileAs(join(modelDir, 'prototype.safetensors'), 'invalid_prototype', readPrototype)
  const store = TaskStore.open(dataDir)
  try {
    const [registry, backbone] = await Promise.all([
      Registry.open(prototype, store, masksDir, config),
      readBackbone(modelDir),
    ])
    const tokenizer = new TextTokenizer(join(modelDir, 'tokenizer.json'), backbone.config.max_position_embeddings)
    const engine = await Engine.start({ backbone, prototype, provider, slots, threads })
    const limits = { maxTokens: maxBatchTokens, maxMasks: slots, maxQueueRows, batchesInFlight }
    const dispatcher = new Dispatcher(engine, limits)
    dispatcher.onBatch = (report) => metrics.batch(report)
    dispatcher.onDropped = (reason, rows) => metrics.dropped(reason, rows)
    return {
      services: { registry, engine, dispatcher, predictor: new Predictor(registry, tokenizer, dispatcher) },
      async release() {
        await engine.close()
        await store.close()
      },
    }
  } catch (error) {
    await store.close()
    throw error
  }
}
