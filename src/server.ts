// The server, assembled: it opens the store, listens, loads the model, serves, and shuts down without losing a request.

import { isIPv4 } from 'node:net'
import type { Logger } from 'pino'
import { readBackbone } from './backbones/backbone.js'
import { TextTokenizer } from './backbones/tokenizer.js'
import type { Config } from './config.js'
import { type Costs, openCosts } from './costs/costs.js'
import { abandonedThreadCount } from './engine/abandoned-threads.js'
import type { LossCause } from './engine/engine-lost.js'
import { Engines } from './engine/engines.js'
import type { SupervisorReport } from './engine/supervised-engine.js'
import { type AppOptions, buildApp } from './http/app.js'
import { Certificate } from './http/certificate.js'
import { Metrics } from './http/metrics.js'
import { Lifecycle, type Services } from './http/services.js'
import type { FetchOptions } from './hub/fetch-model.js'
import { findModel, howToMakePrototype, prototypeIn } from './hub/find-model.js'
import type { Inference } from './inference/inference.js'
import { LocalInference } from './inference/local-inference.js'
import { servedModel } from './petl/combining.js'
import { readPrototypeFile } from './petl/prototype-file.js'
import { Problem } from './problem.js'
import { batchTokens, CostModel } from './scheduler/cost.js'
import { Dispatcher } from './scheduler/dispatcher.js'
import { environmentVariableOf, flagOf, settings } from './settings.js'
import { LmdbStore } from './store/lmdb.js'
import { Mirror } from './store/mirror.js'
import { PostgresStore } from './store/postgres.js'
import type { Store } from './store/store.js'
import { openPredictor } from './tasks/open-predictor.js'
import { ReadyTasks } from './tasks/ready-tasks.js'
import { Registry, readBundled } from './tasks/registry.js'
import { finishRemovals } from './tasks/removal.js'
import { TaskStore } from './tasks/store.js'
import { type Access, KeyedAccess } from './tenants/access.js'
import { Keys } from './tenants/keys.js'
import { Rates } from './tenants/rates.js'
import { operator } from './tenants/tenant.js'
import { Tenants } from './tenants/tenants.js'

export interface Server {
  readonly app: Awaited<ReturnType<typeof buildApp>>
  readonly services: Services
  /** `http://host:port` */
  readonly address: string
  /** Reads the certificate files again. Errors are logged. */
  reloadCertificate(): Promise<void>
  /** Rejects new work, finishes accepted work, and releases all resources. */
  close(): Promise<void>
  /** What `close` still waits for. */
  readonly unfinished: readonly ShutdownStep[]
}

/** `threads`: threads of the process that may hang, even after everything else is closed. */
type ShutdownStep = 'requests' | 'engines' | 'store' | 'threads'

/** Share of the shutdown timeout after which changes that still wait for the database fail. */
const changesShare = 0.5
/** Share of the shutdown timeout after which hung engines are no longer waited for. */
const enginesShare = 0.9

/**
 * Starts a server. Resolves once it is ready.
 * @param signal cancels a start that waits for the database
 * @throws Problem if settings, model or files are invalid
 */
export async function startServer(config: Config, logger: Logger, signal?: AbortSignal): Promise<Server> {
  const { tlsCert: cert, tlsKey: key } = config
  const certificate = cert === undefined || key === undefined ? undefined : await Certificate.open({ cert, key })
  // Watched from here, because the start may wait long for the database.
  certificate?.watch({
    renewed: () => logger.info({ file: cert }, 'the certificate was renewed'),
    rejected: ({ message }) =>
      logger.error({ reason: message }, 'the new certificate is invalid; the current one stays in use'),
  })
  let store: Store | undefined
  try {
    const costs = openCosts(config)
    // Listen only after the store is open, because it holds the API keys.
    store = await openStore(config, logger, signal)
    const access = guardedAccess(store, config)
    return await startOn(store, { access, certificate, config, costs, logger, signal })
  } catch (error) {
    certificate?.close()
    await store?.close()
    throw error
  }
}

interface ServerParts {
  readonly access: Access
  readonly certificate: Certificate | undefined
  readonly config: Config
  readonly costs: Costs
  readonly logger: Logger
  /** Cancels the start. */
  readonly signal: AbortSignal | undefined
}

/** @param store closed by the returned server; after an error it is still open */
async function startOn(
  store: Store,
  { access, certificate, config, costs, logger, signal }: ServerParts,
): Promise<Server> {
  const lifecycle = new Lifecycle()
  const metrics = new Metrics(lifecycle, config.metricsTenants, certificate)
  const inference = new LocalInference({
    dispatcher: () => lifecycle.services.dispatcher,
    rates: new Rates(),
    onTokens: (tenant, tokens) => metrics.tenantTokens(tenant, tokens),
  })
  // The engine's thread loads the model while this thread builds the HTTP application.
  const loading = loadServices(store, { config, costs, inference, metrics, logger, signal })
  const opening = listen({ config, costs, lifecycle, metrics, access, inference, certificate, logger }, config)
  const [loaded, opened] = await Promise.allSettled([loading, opening])
  if (loaded.status === 'rejected' || opened.status === 'rejected') {
    if (loaded.status === 'fulfilled') await loaded.value.engines.close()
    if (opened.status === 'fulfilled') await opened.value.app.close()
    throw opened.status === 'rejected' ? opened.reason : (loaded as PromiseRejectedResult).reason
  }
  const services = loaded.value
  const { app, address } = opened.value
  for (const id of services.registry.shadowed(operator))
    logger.warn(
      { task: id },
      'an uploaded task and a file in the masks directory have the same id; the uploaded task is used',
    )
  if (access.open && config.insecure)
    logger.warn('there are no API keys: anyone who can reach the server has full access')
  lifecycle.ready(services)
  const { choice } = services.engines
  const { maxTokens } = services.dispatcher.options
  const keys = access.open ? 'none' : 'required'
  logger.info({ address, ...choice, batchTokens: maxTokens, tasks: services.registry.count, keys }, 'ready')
  const stop = new AbortController()
  const stores = { tenants: services.tenants, tasks: services.registry.store }
  const removing = finishRemovals(stores, { actor: 'server', logger }, stop.signal)
  const unfinished = new Set<ShutdownStep>(['requests', 'engines', 'store', 'threads'])
  const finish = async (step: ShutdownStep, work: () => Promise<unknown>) => {
    await work()
    // Abandoned threads prevent the process from exiting.
    if (step !== 'engines' || abandonedThreadCount() === 0) unfinished.delete(step)
  }
  return {
    app,
    services,
    address,
    reloadCertificate: async () => certificate?.reload(),
    async close() {
      const until = performance.now() + enginesShare * config.shutdownTimeoutMs
      lifecycle.stop()
      stop.abort()
      certificate?.close()
      const endingChanges = setTimeout(() => store.abortChanges(), changesShare * config.shutdownTimeoutMs)
      await finish('requests', () => app.close())
      // A hung engine must not keep the store open.
      await Promise.all([
        finish('engines', () => services.engines.close(Math.max(0, until - performance.now()))),
        finish('store', () => removing.then(() => store.close())),
      ])
      clearTimeout(endingChanges)
    },
    get unfinished() {
      return [...unfinished]
    },
  }
}

/** @throws Problem `invalid_setting` if other machines could reach a server without API keys */
function guardedAccess(store: Store, { host, dataDir, operatorKey, insecure }: Config): Access {
  const access = new KeyedAccess(store, { operatorKey, mayBeOpen: insecure || isLoopback(host) })
  if (access.open || access.configured) return access
  throw new Problem(
    'invalid_setting',
    `${flagOf('host')} is ${host}, which other machines can reach, but there are no API keys; create the first key with ` +
      `"propetl tenants create-key operator ${flagOf('dataDir')} ${dataDir}", or set ${environmentVariableOf('operatorKey')}, or allow open access with ${flagOf('insecure')}`,
  )
}

/**
 * Most connections that wait to be accepted; the kernel may allow fewer (net.core.somaxconn). If there are more, the kernel
 * ignores them, and their clients try again only after a second.
 */
const backlog = 4_096

const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'))

async function listen(options: AppOptions, { host, port }: Pick<Config, 'host' | 'port'>) {
  const app = await buildApp(options)
  // Fastify uses our listener, so it does not know whether it is HTTPS.
  const schemed = (address: string) => (options.certificate ? address.replace(/^http:/, 'https:') : address)
  const listenTextResolver = (address: string) => `listening on ${schemed(address)}; loading the model`
  const address = await app
    .listen({ host, port, backlog, listenTextResolver })
    .catch((error: NodeJS.ErrnoException) => {
      const remedy =
        error.code === 'EADDRINUSE' ? `. Another process uses the port: stop it, or set another ${flagOf('port')}` : ''
      throw new Problem('invalid_setting', `cannot listen on ${host}:${port}: ${error.message}${remedy}`)
    })
  return { app, address: schemed(address) }
}

async function openStore(
  { dataDir, databaseUrl, acceptHistory }: Config,
  logger: Logger,
  signal?: AbortSignal,
): Promise<Store> {
  if (databaseUrl === '') return LmdbStore.open(dataDir, { log: logger })
  const mirror = await Mirror.open(dataDir, logger, signal)
  return PostgresStore.open({ url: databaseUrl, mirror, logger, acceptHistory, signal })
}

interface ServiceParts extends Pick<ServerParts, 'config' | 'costs' | 'logger' | 'signal'> {
  readonly inference: Inference
  readonly metrics: Metrics
}

async function loadServices(
  store: Store,
  { config, costs, inference, metrics, logger, signal }: ServiceParts,
): Promise<Services> {
  const { shares, pools, work } = costs
  const { masksDir, slots, threads, provider, numerics, maxBatchTokens, maxTextTokens, maxQueueRows } = config
  const directory = await findModel(config.modelDir, { signal, ...downloadLog(config.modelDir, logger) })
  const backbone = await readBackbone(directory)
  const prototypeFile = config.prototype ?? prototypeIn(directory)
  const prototype = prototypeFile === undefined ? undefined : await readPrototypeFile(prototypeFile)
  if (prototype === undefined)
    logger.warn(
      { advice: howToMakePrototype(config.modelDir) },
      'the model has no prototype: only tasks without a mask are served',
    )
  const { engineTimeoutMs: runTimeoutMs, engineStartTimeoutMs: startTimeoutMs } = config
  const { bytes: memoryBytes } = costs.memory
  const starting = Engines.start(
    config.engines,
    { backbone, prototype, provider, numerics, slots, threads, runTimeoutMs, startTimeoutMs, memoryBytes },
    (engine) => supervision(engine, logger, metrics),
  )
  try {
    const tokenizer = await TextTokenizer.open(backbone, maxTextTokens)
    const model = servedModel(backbone, prototype)
    const ready = new ReadyTasks(model, work, pools.tasks, shares.cache)
    const [engines, tasks, { bundled, skipped }] = await Promise.all([
      starting,
      TaskStore.open(store),
      readBundled(model, masksDir, masksDir === settings.masksDir.value),
    ])
    const registry = new Registry(ready, tasks, bundled)
    if (skipped > 0) logger.info({ skipped }, 'the bundled tasks belong to another model and are not served')
    engines.onStuck = (reason) => {
      // Nothing catches this error: the process exits, and its supervisor starts a new one.
      throw new Problem('engine_lost', `${reason}; only a new process can start an engine`)
    }
    const { timings } = engines
    const cost = new CostModel(timings)
    const sizes = batchTokens(maxBatchTokens, timings)
    const freePlaces = Math.min(cost.tokensPerStart, sizes.maxTokens)
    const dispatcher = new Dispatcher(engines.all, { ...sizes, freePlaces, maxMasks: slots, maxQueueRows }, cost)
    dispatcher.onBatch = (report) => metrics.batch(report)
    dispatcher.onDropped = (reason, rows) => metrics.dropped(reason, rows)
    dispatcher.onRejected = (reason) => metrics.rejected(reason)
    dispatcher.onTextsRejected = (texts) =>
      logger.error({ texts }, 'texts are rejected: two engines were lost with them')
    const { hiddenSize } = model
    const predictor = openPredictor({ registry, tokenizer, inference, hiddenSize, costs, config })
    const [tenants, keys] = [new Tenants(store), new Keys(store)]
    return { costs, store, registry, engines, dispatcher, predictor, tenants, keys }
  } catch (error) {
    const engines = await starting.catch(() => undefined)
    await engines?.close()
    throw error
  }
}

/** Reports the download of a model from time to time. */
function downloadLog(model: string, logger: Logger): Pick<FetchOptions, 'onProgress' | 'onWarning'> {
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
const supervision = (engine: number, logger: Logger, metrics: Metrics): SupervisorReport => ({
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
