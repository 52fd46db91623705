// The server, assembled: it opens the store, listens, loads the model, serves, and shuts down without losing a request.

import { isIPv4 } from 'node:net'
import { availableParallelism } from 'node:os'
import type { FastifyInstance } from 'fastify'
import type { Logger } from 'pino'
import type { Config } from './config.js'
import { type Costs, openCosts } from './costs/costs.js'
import { abandonedThreadCount } from './engine/abandoned-threads.js'
import { type AppOptions, buildApp } from './http/app.js'
import { Certificate } from './http/certificate.js'
import { listen, listeningLine } from './http/listening.js'
import { Metrics } from './http/metrics.js'
import { Lifecycle, type Services } from './http/services.js'
import { findModel, prototypeIn } from './hub/find-model.js'
import { LocalInference } from './inference/local-inference.js'
import type { Learner } from './jobs/job-run.js'
import { startLearner } from './learner/learner.js'
import { Problem } from './problem.js'
import { downloadLog } from './server-reports.js'
import { loadServices } from './server-services.js'
import { environmentVariableOf, flagOf } from './settings.js'
import { LmdbStore } from './store/lmdb.js'
import { Mirror } from './store/mirror.js'
import { PostgresStore } from './store/postgres.js'
import type { Store } from './store/store.js'
import { finishRemovals } from './tasks/removal.js'
import { sweepDatasets } from './tasks/removed-datasets.js'
import { storeCounts } from './tasks/shadows.js'
import { type Access, KeyedAccess } from './tenants/access.js'
import { Rates } from './tenants/rates.js'
import { operator } from './tenants/tenant.js'
import type { WorkerModel } from './workers/messages.js'
import { workerCountOf } from './workers/worker-count.js'
import type { Workers } from './workers/workers.js'
import { WorkersFront } from './workers/workers-front.js'

export interface Server {
  readonly app: Awaited<ReturnType<typeof buildApp>>
  readonly services: Services
  /** `http://host:port` */
  readonly address: string
  /** Reads the certificate files again. Errors are logged. */
  reloadCertificate(): Promise<void>
  /** Changes the level of the logs of other processes. The caller changes that of the logger. */
  setLogLevel(level: Config['logLevel']): void
  /** Rejects new work, finishes accepted work, and releases all resources. */
  close(): Promise<void>
  /** Ends the server's other processes at once. */
  kill(): void
  /** What `close` still waits for. */
  readonly unfinished: readonly ShutdownStep[]
}

/** `threads`: threads of the process that may hang, even after everything else is closed. */
type ShutdownStep = 'requests' | 'engines' | 'store' | 'threads'

/** Share of the shutdown timeout after which changes that still wait for the database fail. */
const changesShare = 0.5
/** Share of the shutdown timeout after which hung engines are no longer waited for. */
const enginesShare = 0.9

export interface StartOptions {
  /** Cancels a start that waits for the database. */
  readonly signal?: AbortSignal
  /** Writes log lines of other processes of the server, in JSON. */
  readonly writeLines?: (lines: string) => void
  /** Trains tasks. Default: in a child process. */
  readonly learner?: Learner
}

/**
 * Starts a server. Resolves once it is ready.
 * @throws Problem if settings, model or files are invalid
 */
export async function startServer(
  config: Config,
  logger: Logger,
  { signal, writeLines = (lines) => process.stdout.write(lines), learner = startLearner }: StartOptions = {},
): Promise<Server> {
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
    const workers = workerCountOf(config)
    if (workers > availableParallelism())
      logger.warn({ workers, cores: availableParallelism() }, 'there are more HTTP workers than cores')
    const costs = openCosts(config, workers === 1 ? 1 : workers + 1)
    // Listen only after the store is open, because it holds the API keys.
    store = await openStore(config, logger, signal)
    const access = guardedAccess(store, config)
    return await startOn(store, { access, certificate, config, costs, learner, logger, signal, workers, writeLines })
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
  readonly learner: Learner
  readonly logger: Logger
  /** Cancels the start. */
  readonly signal: AbortSignal | undefined
  /** Number of processes that serve HTTP; 1 is this process. */
  readonly workers: number
  readonly writeLines: (lines: string) => void
}

/** @param store closed by the returned server; after an error it is still open */
async function startOn(
  store: Store,
  { access, certificate, config, costs, learner, logger, signal, workers: count, writeLines }: ServerParts,
): Promise<Server> {
  const lifecycle = new Lifecycle()
  const metrics = new Metrics(lifecycle, config.metricsTenants, certificate)
  const inference = new LocalInference({
    dispatcher: () => lifecycle.services.dispatcher,
    rates: new Rates(),
    onTokens: (tenant, tokens) => metrics.tenantTokens(tenant, tokens),
  })
  // The engine's thread loads the model while this thread builds the HTTP application, and the HTTP workers start.
  const finding = findFiles(config, logger, signal)
  const loading = finding.then((files) =>
    loadServices(store, files, { config, costs, inference, learner, metrics, logger }),
  )
  const appOptions = { config, costs, lifecycle, metrics, access, inference, certificate, logger }
  const opening: Promise<Front> =
    count === 1
      ? listenHere(appOptions)
      : WorkersFront.open(appOptions, { count, mayBeOpen: mayBeOpen(config), store, writeLines })
  const warming = Promise.all([finding, opening]).then(([files, { workers }]) => workers?.load(files))
  const [loaded, opened, warmed] = await Promise.allSettled([loading, opening, warming])
  if (loaded.status === 'rejected' || opened.status === 'rejected' || warmed.status === 'rejected') {
    if (loaded.status === 'fulfilled') await loaded.value.engines.close()
    if (opened.status === 'fulfilled') await opened.value.close()
    throw [opened, loaded, warmed].find((result) => result.status === 'rejected')?.reason
  }
  const front = opened.value
  const { app, address, workers } = front
  const services: Services = { ...loaded.value, workers }
  for (const id of services.registry.shadowed(operator))
    logger.warn(
      { task: id },
      'an uploaded task and a file in the masks directory have the same id; the uploaded task is used',
    )
  if (access.open && config.insecure)
    logger.warn('there are no API keys: anyone who can reach the server has full access')
  lifecycle.ready(services)
  workers?.serve()
  services.learning.runner.start()
  const { choice } = services.engines
  const { maxTokens } = services.dispatcher.options
  const keys = access.open ? 'none' : 'required'
  logger.info(
    {
      address,
      ...choice,
      batchTokens: maxTokens,
      tasks: services.registry.count,
      keys,
      ...(workers && { workers: count }),
    },
    'ready',
  )
  const stop = new AbortController()
  const stores = { tenants: services.tenants, tasks: services.registry.store }
  const background = [
    finishRemovals(stores, { actor: 'server', logger }, stop.signal),
    storeCounts(services.shadows.counts, store, logger, stop.signal),
    services.suggestions.run(stop.signal),
    sweepDatasets(store, logger, stop.signal),
  ]
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
    setLogLevel: (level) => workers?.setLogLevel(level),
    kill: () => workers?.kill(),
    async close() {
      const until = performance.now() + enginesShare * config.shutdownTimeoutMs
      lifecycle.stop()
      stop.abort()
      const stopping = services.learning.runner.stop()
      certificate?.close()
      const endingChanges = setTimeout(() => store.abortChanges(), changesShare * config.shutdownTimeoutMs)
      await finish('requests', () => front.close().then(() => services.readingThreads.close()))
      // A hung engine must not keep the store open.
      await Promise.all([
        finish('engines', () => services.engines.close(Math.max(0, until - performance.now()))),
        finish('store', async () => {
          await Promise.all([...background, stopping])
          await services.suggestions.flush()
          await store.close()
        }),
      ])
      clearTimeout(endingChanges)
    },
    get unfinished() {
      return [...unfinished]
    },
  }
}

/** @throws Problem `invalid_setting` if other machines could reach a server without API keys */
function guardedAccess(store: Store, config: Config): Access {
  const { host, dataDir, operatorKey } = config
  const access = new KeyedAccess(store, { operatorKey, mayBeOpen: mayBeOpen(config) })
  if (access.open || access.configured) return access
  throw new Problem(
    'invalid_setting',
    `${flagOf('host')} is ${host}, which other machines can reach, but there are no API keys; create the first key with ` +
      `"propetl tenants create-key operator ${flagOf('dataDir')} ${dataDir}", or set ${environmentVariableOf('operatorKey')}, or allow open access with ${flagOf('insecure')}`,
  )
}

const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'))

/** Whether the server may run without API keys. */
const mayBeOpen = ({ host, insecure }: Pick<Config, 'host' | 'insecure'>): boolean => insecure || isLoopback(host)

/** How the server is reached: through this process, or through HTTP workers. */
interface Front {
  /** The whole application. */
  readonly app: FastifyInstance
  /** `http://host:port` */
  readonly address: string
  readonly workers?: Workers
  /** Finishes accepted requests. */
  close(): Promise<void>
}

async function listenHere(options: AppOptions & { readonly config: Config }): Promise<Front> {
  const app = await buildApp(options)
  const address = await listen(app, options.config, listeningLine)
  return { app, address, close: () => app.close() }
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

async function findFiles(config: Config, logger: Logger, signal: AbortSignal | undefined): Promise<WorkerModel> {
  const directory = await findModel(config.modelDir, { signal, ...downloadLog(config.modelDir, logger) })
  return { directory, prototypeFile: config.prototype ?? prototypeIn(directory) }
}
