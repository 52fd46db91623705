// A running server, put together: it opens the store, listens, loads the model, answers, and stops without losing a request.

import { isIPv4 } from 'node:net'
import type { Logger } from 'pino'
import { readBackbone } from './backbones/backbone.js'
import { TextTokenizer } from './backbones/tokenizer.js'
import { type Config, environmentVariableOf, flagOf } from './config.js'
import { type Costs, openCosts } from './costs/costs.js'
import { Gate } from './costs/gate.js'
import { bytesPerCharacter } from './costs/memory.js'
import { abandonedThreadCount } from './engine/abandoned-threads.js'
import type { LossCause } from './engine/engine-lost.js'
import { Engines } from './engine/engines.js'
import type { SupervisorReport } from './engine/supervised-engine.js'
import { type AppOptions, buildApp } from './http/app.js'
import { Certificate } from './http/certificate.js'
import { Metrics } from './http/metrics.js'
import { Lifecycle, type Services } from './http/services.js'
import { readPrototypeIn } from './petl/prototype-file.js'
import { Problem } from './problem.js'
import { batchTokens, CostModel } from './scheduler/cost.js'
import { Dispatcher } from './scheduler/dispatcher.js'
import { LmdbStore } from './store/lmdb.js'
import { Mirror } from './store/mirror.js'
import { PostgresStore } from './store/postgres.js'
import type { Store } from './store/store.js'
import { Predictor } from './tasks/predictor.js'
import { ReadyTasks } from './tasks/ready-tasks.js'
import { Registry } from './tasks/registry.js'
import { finishRemovals } from './tasks/removal.js'
import { TaskStore } from './tasks/store.js'
import { type Access, KeyedAccess } from './tenants/access.js'
import { Keys } from './tenants/keys.js'
import { operator } from './tenants/tenant.js'
import { Tenants } from './tenants/tenants.js'

export interface Server {
  readonly app: Awaited<ReturnType<typeof buildApp>>
  readonly services: Services
  /** `http://host:port` */
  readonly address: string
  /** Takes the certificate as its files are now. What is wrong with them is logged. */
  reloadCertificate(): Promise<void>
  /** Refuses new work, finishes what was accepted, and releases everything. */
  close(): Promise<void>
  /** What `close` waits for. */
  readonly unfinished: readonly Part[]
}

/** Of what is closed; threads of the process may hang even after that. */
type Part = 'requests' | 'engines' | 'store' | 'threads'

/** The share of the time to stop that changes get; those that still wait for a database are then given up and answered. */
const changesWithin = 0.5
/** The part of the time to stop after which engines that hang are no longer waited for. */
const enginesWithin = 0.9

/**
 * Starts a server; resolves once it is ready.
 * @param signal ends a start that waits for a database
 * @throws Problem for whatever is wrong with settings, model or files
 */
export async function startServer(config: Config, logger: Logger, signal?: AbortSignal): Promise<Server> {
  const { tlsCert: cert, tlsKey: key } = config
  const certificate = cert === undefined || key === undefined ? undefined : await Certificate.open({ cert, key })
  // A start may wait long for a database, and the certificate be renewed meanwhile.
  certificate?.watch({
    renewed: () => logger.info({ file: cert }, 'the certificate was renewed'),
    rejected: ({ message }) => logger.error({ reason: message }, 'the certificate stays as it was'),
  })
  let store: Store | undefined
  try {
    const costs = openCosts(config)
    // Who may ask is in the store: nothing listens before it can be read.
    store = await openStore(config, logger, signal)
    const access = guardedAccess(store, config)
    return await startOn(store, { access, certificate, config, costs, logger })
  } catch (error) {
    certificate?.close()
    await store?.close()
    throw error
  }
}

interface Parts {
  readonly access: Access
  readonly certificate: Certificate | undefined
  readonly config: Config
  readonly costs: Costs
  readonly logger: Logger
}

/** @param store closed by the server that comes of it, and left open where none does */
async function startOn(store: Store, { access, certificate, config, costs, logger }: Parts): Promise<Server> {
  const lifecycle = new Lifecycle()
  const metrics = new Metrics(lifecycle, config.metricsTenants, certificate)
  // The engine's thread loads the model while this one puts the application together.
  const loading = loadServices(store, config, costs, metrics, logger)
  const opening = listen({ config, costs, lifecycle, metrics, access, certificate, logger }, config)
  const [loaded, opened] = await Promise.allSettled([loading, opening])
  if (loaded.status === 'rejected' || opened.status === 'rejected') {
    if (loaded.status === 'fulfilled') await loaded.value.engines.close()
    if (opened.status === 'fulfilled') await opened.value.app.close()
    throw opened.status === 'rejected' ? opened.reason : (loaded as PromiseRejectedResult).reason
  }
  const services = loaded.value
  const { app, address } = opened.value
  for (const id of services.registry.shadowed(operator))
    logger.warn({ task: id }, 'an upload and a file of the masks directory have the same id; the upload is served')
  if (access.open && config.insecure) logger.warn('there are no keys: whoever reaches the server may do everything')
  lifecycle.ready(services)
  const { choice } = services.engines
  const { maxTokens } = services.dispatcher.options
  const keys = access.open ? 'none' : 'asked for'
  logger.info({ address, ...choice, batchTokens: maxTokens, tasks: services.registry.count, keys }, 'ready')
  const stop = new AbortController()
  const stores = { tenants: services.tenants, tasks: services.registry.store }
  const removing = finishRemovals(stores, { actor: 'server', logger }, stop.signal)
  const unfinished = new Set<Part>(['requests', 'engines', 'store', 'threads'])
  const finish = async (part: Part, work: () => Promise<unknown>) => {
    await work()
    // Threads that hang keep the process from ending.
    if (part !== 'engines' || abandonedThreadCount() === 0) unfinished.delete(part)
  }
  return {
    app,
    services,
    address,
    reloadCertificate: async () => certificate?.reload(),
    async close() {
      const until = performance.now() + enginesWithin * config.shutdownTimeoutMs
      lifecycle.stop()
      stop.abort()
      certificate?.close()
      const givingUp = setTimeout(() => store.abortChanges(), changesWithin * config.shutdownTimeoutMs)
      await finish('requests', () => app.close())
      // An engine that hangs must not keep the store open.
      await Promise.all([
        finish('engines', () => services.engines.close(Math.max(0, until - performance.now()))),
        finish('store', () => removing.then(() => store.close())),
      ])
      clearTimeout(givingUp)
    },
    get unfinished() {
      return [...unfinished]
    },
  }
}

/** @throws Problem `invalid_setting` if other machines would reach a server that asks for no key */
function guardedAccess(store: Store, { host, dataDir, operatorKey, insecure }: Config): Access {
  const access = new KeyedAccess(store, { operatorKey, mayBeOpen: insecure || isLoopback(host) })
  if (access.open || access.configured) return access
  throw new Problem(
    'invalid_setting',
    `${flagOf('host')} is ${host}, which other machines reach, and there are no keys; make the first with ` +
      `"propetl tenants create-key operator ${flagOf('dataDir')} ${dataDir}", or give ${environmentVariableOf('operatorKey')} or ${flagOf('insecure')}`,
  )
}

const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'))

async function listen(options: AppOptions, { host, port }: Pick<Config, 'host' | 'port'>) {
  const app = await buildApp(options)
  // Fastify is given its listener, and does not know that it may be a secure one.
  const schemed = (address: string) => (options.certificate ? address.replace(/^http:/, 'https:') : address)
  const listenTextResolver = (address: string) => `listening on ${schemed(address)}; loading the model`
  const address = await app.listen({ host, port, listenTextResolver }).catch((error: Error) => {
    throw new Problem('invalid_setting', `cannot listen on ${host}:${port}: ${error.message}`)
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

async function loadServices(
  store: Store,
  config: Config,
  costs: Costs,
  metrics: Metrics,
  logger: Logger,
): Promise<Services> {
  const { shares, pools, work } = costs
  const { modelDir, masksDir, slots, threads, provider, numerics, maxBatchTokens, maxQueueRows } = config
  const backbone = await readBackbone(modelDir)
  const prototype = await readPrototypeIn(modelDir)
  const { engineTimeoutMs: runTimeoutMs, engineStartTimeoutMs: startTimeoutMs } = config
  const { bytes: memoryBytes } = costs.memory
  const starting = Engines.start(
    config.engines,
    { backbone, prototype, provider, numerics, slots, threads, runTimeoutMs, startTimeoutMs, memoryBytes },
    (engine) => supervision(engine, logger, metrics),
  )
  try {
    const tokenizer = await TextTokenizer.open(backbone)
    const ready = new ReadyTasks(prototype, work, pools.tasks, shares.cache)
    const [engines, registry] = await Promise.all([
      starting,
      TaskStore.open(store).then((tasks) => Registry.open(ready, tasks, masksDir)),
    ])
    engines.onStuck = (reason) => {
      // Nothing catches it: the process ends, and whatever supervises it starts a new one.
      throw new Problem('engine_lost', `${reason}; only a new process can compute again`)
    }
    const { timings } = engines
    const limits = { ...batchTokens(maxBatchTokens, timings), maxMasks: slots, maxQueueRows }
    const dispatcher = new Dispatcher(engines.all, limits, new CostModel(timings))
    dispatcher.onBatch = (report) => metrics.batch(report)
    dispatcher.onDropped = (reason, rows) => metrics.dropped(reason, rows)
    dispatcher.onRejected = (reason) => metrics.rejected(reason)
    dispatcher.onTextsRejected = (texts) =>
      logger.error({ texts }, 'texts are refused: two engines were lost with them')
    const predictor = new Predictor({
      registry,
      tokenizer,
      dispatcher,
      work,
      hiddenSize: prototype.hiddenSize,
      // Two of the longest texts have to fit.
      gate: new Gate(Math.max(Math.floor(shares.texts / bytesPerCharacter), 2 * tokenizer.maxCharacters)),
      answers: pools.answers,
      limits: {
        maxTaskBytes: config.maxTaskBytes,
        maxMultiplyAdds: config.maxHeadMultiplyAdds,
        maxAnswerBytes: config.maxAnswerBytes,
      },
    })
    const [tenants, keys] = [new Tenants(store), new Keys(store)]
    return { costs, store, registry, engines, dispatcher, predictor, tenants, keys }
  } catch (error) {
    const engines = await starting.catch(() => undefined)
    await engines?.close()
    throw error
  }
}

/** A child of the logger would keep the log level of now. */
const supervision = (engine: number, logger: Logger, metrics: Metrics): SupervisorReport => ({
  lost({ cause, reason }) {
    metrics.engineLost(cause)
    logger.error({ engine, cause, reason }, `${lossLines[cause]}: its batches fail, and a new one is started`)
  },
  replaced(ms) {
    logger.info({ engine, after_ms: Math.round(ms) }, 'a new engine serves')
  },
  notReplaced(cause, reason, retryMs) {
    metrics.engineNotReplaced(cause)
    const what = {
      start_failed: 'a new engine did not start; it is tried again',
      left_behind: 'no new engine is started beside the threads that hang; it is tried again',
    }
    logger.error({ engine, cause, reason, retry_ms: retryMs }, what[cause])
  },
})

const lossLines: Readonly<Record<LossCause, string>> = {
  hung: 'an engine hangs and is given up',
  failed: 'an engine failed',
  out_of_memory: 'an engine ran out of memory',
  provider_lost: 'an engine lost its device',
}
