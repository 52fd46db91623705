// The server of an HTTP worker, assembled.

import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import type { Logger } from 'pino'
import { readBackbone } from '../backbones/backbone.js'
import { TextTokenizer } from '../backbones/tokenizer.js'
import { type Costs, openCosts } from '../costs/costs.js'
import { buildWorkerApp } from '../http/app.js'
import { Certificate } from '../http/certificate.js'
import { forwarder } from '../http/forwarding.js'
import { listen } from '../http/listening.js'
import { RequestMetrics } from '../http/request-metrics.js'
import { responseHeaders } from '../http/response-headers.js'
import { Lifecycle, type PredictionServices } from '../http/services.js'
import { RemoteInference } from '../inference/remote-inference.js'
import { servedModel } from '../petl/combining.js'
import { readPrototypeFile } from '../petl/prototype-file.js'
import { reasonOf } from '../problem.js'
import { settings } from '../settings.js'
import { SharedReader } from '../store/shared-reader.js'
import type { SharedFile } from '../store/store.js'
import { TextBuffer } from '../suggestions/text-buffer.js'
import { BufferingCollector } from '../suggestions/text-collector.js'
import { openPredictor } from '../tasks/open-predictor.js'
import { ReadyTasks } from '../tasks/ready-tasks.js'
import { readBundled, ServedTasks } from '../tasks/registry.js'
import { type ShadowCount, Shadows } from '../tasks/shadows.js'
import { TaskReader } from '../tasks/store.js'
import { KeyedAccess } from '../tenants/access.js'
import type { WorkerModel, WorkerStart } from './messages.js'

interface Parts {
  readonly app: FastifyInstance
  readonly address: string
  readonly costs: Costs
  readonly certificate: Certificate | undefined
  readonly config: WorkerStart['config']
  readonly inference: RemoteInference
  readonly lifecycle: Lifecycle<PredictionServices>
  readonly logger: Logger
  readonly metrics: RequestMetrics
  readonly store: SharedReader
}

/** Memory of texts that wait to be sent to the primary process, in bytes. */
const textBytes = 2 ** 20

export class WorkerServer {
  /** Connections since the start. */
  connections = 0
  /** Texts that the primary process is to keep. */
  readonly texts = new TextBuffer(textBytes)
  #loaded: PredictionServices | undefined
  #changingStore: Promise<void> = Promise.resolve()

  private constructor(readonly parts: Parts) {
    parts.app.server.on('connection', () => this.connections++)
  }

  /**
   * Listens, and passes all requests to the primary process until `serve` is called.
   * @param stream to the host of the inference
   * @throws Problem `invalid_setting`, `engine_lost`
   */
  static async open(start: WorkerStart, stream: Socket, logger: Logger): Promise<WorkerServer> {
    const { appSocket, config, mayBeOpen } = start
    const certificate = start.certificate && Certificate.of(start.certificate)
    const costs = openCosts(config, start.processes)
    const inference = await RemoteInference.connect(stream)
    const store = new SharedReader()
    await useFile(store, start.store, logger)
    const lifecycle = new Lifecycle<PredictionServices>()
    const metrics = new RequestMetrics(lifecycle, config.metricsTenants)
    const app = await buildWorkerApp({
      config,
      costs,
      access: new KeyedAccess(store, { operatorKey: config.operatorKey, mayBeOpen }),
      certificate,
      inference,
      lifecycle,
      logger,
      metrics,
      forward: forwarder(appSocket, responseHeaders(certificate !== undefined), logger),
      predicts: () => {
        // A change that was acknowledged before this request is visible to it.
        store.refresh()
        return lifecycle.current !== undefined && store.readable
      },
    })
    const address = await listen(app, config, () => 'an HTTP worker listens')
    return new WorkerServer({
      app,
      address,
      costs,
      certificate,
      config,
      inference,
      lifecycle,
      logger,
      metrics,
      store,
    })
  }

  /** @throws Problem `invalid_backbone` and other errors of the files of the model */
  async load({ directory, prototypeFile }: WorkerModel): Promise<void> {
    const { config, costs, inference, metrics, store } = this.parts
    const backbone = await readBackbone(directory)
    const prototype = prototypeFile === undefined ? undefined : await readPrototypeFile(prototypeFile)
    const model = servedModel(backbone, prototype)
    const tokenizer = await TextTokenizer.open(backbone, config.maxTextTokens)
    const { bundled } = await readBundled(model, config.masksDir, config.masksDir === settings.masksDir.value)
    const ready = new ReadyTasks(model, costs.work, costs.pools.tasks, costs.shares.cache)
    const registry = new ServedTasks(ready, new TaskReader(store), bundled)
    const { hiddenSize } = model
    const collector = new BufferingCollector(store, this.texts)
    const predictor = openPredictor({ registry, tokenizer, inference, hiddenSize, costs, config, collector })
    const shadows = new Shadows(predictor)
    shadows.onOutcome = (outcome, texts) => metrics.shadow(outcome, texts)
    this.#loaded = { costs, registry, predictor, shadows }
  }

  /** Comparisons of candidates since the last call. */
  takeShadows(): ShadowCount[] {
    return this.#loaded?.shadows.counts.take() ?? []
  }

  /** Predicts from now on. Call it after `load`. */
  serve(): void {
    if (this.#loaded) this.parts.lifecycle.ready(this.#loaded)
  }

  /** Reads another file of the store from now on, or none; then predictions are passed on, too. */
  async useStore(file: SharedFile | undefined): Promise<void> {
    const { logger, store } = this.parts
    // One change after the other, because a file has to be closed before it is opened again.
    this.#changingStore = this.#changingStore.then(() => useFile(store, file, logger))
    await this.#changingStore
  }

  /** Finishes accepted requests. */
  async close(): Promise<void> {
    const { app, inference, lifecycle, store } = this.parts
    lifecycle.stop()
    await app.close()
    inference.close()
    await store.close()
  }
}

const useFile = (store: SharedReader, file: SharedFile | undefined, logger: Logger): Promise<void> =>
  store.use(file).catch((error: unknown) => {
    logger.error({ reason: reasonOf(error) }, 'an HTTP worker cannot read the store and passes predictions on')
  })
