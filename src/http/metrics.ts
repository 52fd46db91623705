// The Prometheus metrics of the server. Their names begin with propetl_. prom-client adds its own process metrics.

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry as MetricRegistry } from 'prom-client'
import { abandonedThreadCount } from '../engine/abandoned-threads.js'
import { type LossCause, lossCauses } from '../engine/engine-lost.js'
import { type NotReplacedCause, notReplacedCauses } from '../engine/supervised-engine.js'
import type { Owner } from '../owner.js'
import { Problem } from '../problem.js'
import type { BatchReport } from '../scheduler/batch-runner.js'
import { followingStates, secondsBehind } from '../store/store.js'
import { otherTenants } from '../tenants/tenant.js'
import type { Certificate } from './certificate.js'
import type { Lifecycle, Services } from './services.js'

const powersOfTwo = (first: number, last: number) =>
  Array.from({ length: Math.log2(last / first) + 1 }, (_, i) => first * 2 ** i)

export class Metrics {
  readonly registry = new MetricRegistry()
  readonly #registers = [this.registry]

  readonly #requests = this.#histogram(
    'http_request_duration_seconds',
    'Duration of HTTP requests by method, route and status',
    {
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
      labelNames: ['method', 'route', 'status'],
    },
  )
  readonly #waits = this.#histogram('queue_wait_seconds', 'Time that rows waited in the queue', {
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
  })
  readonly #rows = this.#histogram('batch_rows', 'Rows per batch', { buckets: powersOfTwo(1, 512) })
  readonly #tokens = this.#histogram('batch_tokens', 'Tokens per batch', { buckets: powersOfTwo(8, 8192) })
  readonly #tasks = this.#histogram('batch_tasks', 'Different tasks per batch', { buckets: powersOfTwo(1, 256) })
  readonly #padding = this.#histogram(
    'batch_padding_ratio',
    'Share of padding in the token positions that attention and PETL modules compute; dense layers compute no padding',
    { buckets: [0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75] },
  )
  readonly #busy = this.#counter('engine_busy_seconds_total', 'Time that engine threads spent on batches')
  readonly #recomputed = this.#counter(
    'recomputed_rows_total',
    'Rows computed again in float32 because they exceeded the range of float16',
  )
  readonly #dropped = this.#counter('queue_dropped_rows_total', 'Rows dropped from the queue before execution', [
    'reason',
  ])
  readonly #rejected = this.#counter(
    'refused_requests_total',
    'Requests rejected by admission control: they would have waited too long (wait), the queue was full (room), they would have missed their deadline (deadline), or engines had failed with one of their texts (text)',
    ['reason'],
  )
  readonly #lost = this.#counter(
    'engines_lost_total',
    'Engines that hung (hung), failed (failed), ran out of memory (out_of_memory) or lost their device (provider_lost)',
    ['cause'],
  )
  readonly #notReplaced = this.#counter(
    'engines_not_replaced_total',
    'Failed attempts to replace an engine: the start failed (start_failed), or abandoned threads left no room for it (left_behind)',
    ['cause'],
  )
  readonly #tenantRequests = this.#counter('tenant_requests_total', 'Requests by tenant and status', [
    'tenant',
    'status',
  ])
  readonly #tenantTokens = this.#counter('tenant_tokens_total', 'Tokens of admitted texts by tenant', ['tenant'])
  readonly #namedTenants = new Set<Owner>()

  constructor(
    lifecycle: Lifecycle,
    /** Most tenants with their own time series. */
    readonly maxNamedTenants: number,
    certificate?: Pick<Certificate, 'validUntil'>,
  ) {
    collectDefaultMetrics({ register: this.registry })
    // increase() would miss the first loss if the series began with it.
    for (const cause of lossCauses) this.#lost.inc({ cause }, 0)
    for (const cause of notReplacedCauses) this.#notReplaced.inc({ cause }, 0)
    const watch =
      <T>(figure: (services: Services) => T, none: T) =>
      (): T =>
        lifecycle.current ? figure(lifecycle.current) : none
    this.#gauge(
      'queue_rows',
      'Rows in the queue',
      watch((s) => s.dispatcher.queuedRows, 0),
    )
    this.#gauge(
      'queue_oldest_seconds',
      'Waiting time of the oldest row in the queue',
      watch((s) => s.dispatcher.oldestMs / 1000, 0),
    )
    this.#gauge(
      'queue_estimated_wait_seconds',
      'Estimated time to compute all rows in the queue',
      watch((s) => s.dispatcher.estimatedWaitMs / 1000, 0),
    )
    this.#gauge(
      'batch_tokens_limit',
      'Token budget: the most tokens of one batch',
      watch((s) => s.dispatcher.options.maxTokens, 0),
    )
    this.#gauge(
      'registered_tasks',
      'Tasks that the server can serve',
      watch((s) => whileReadable(() => s.registry.count), 0),
    )
    this.#gauge(
      'storage_available',
      '1 while the files of the data directory are in place and can be written',
      watch((s) => Number(s.store.failure === undefined), 0),
    )
    this.#gauge(
      'cache_bytes',
      'Bytes of cached tasks',
      watch((s) => s.registry.ready.cached.bytes, 0),
    )
    this.#gauge(
      'cache_tasks',
      'Number of cached tasks',
      watch((s) => s.registry.ready.cached.tasks, 0),
    )
    this.#gauge(
      'engines_available',
      'Engines that run',
      watch((s) => s.engines.available, 0),
    )
    this.#gauge(
      'engines_configured',
      'Engines that should run',
      watch((s) => s.engines.all.length, 0),
    )
    this.#gauge(
      'engine_threads_left_behind',
      'Abandoned threads: hung engine threads that were replaced and have not ended',
      abandonedThreadCount,
    )
    this.#gauge(
      'ready',
      '1 once the engine has computed a warm-up batch',
      watch(() => 1, 0),
    )
    for (const event of ['hits', 'loads', 'evictions'] as const)
      this.#runningTotal(
        `bank_${event}_total`,
        bankMeanings[event],
        watch((s) => s.engines.bank[event], 0),
      )
    this.#gauge(
      'memory_limit_bytes',
      'Memory that the process may use',
      watch((s) => s.costs.memory.bytes, 0),
    )
    new Gauge({
      name: 'propetl_memory_share_bytes',
      help: 'Most memory for each use',
      labelNames: ['use'],
      registers: this.#registers,
      collect() {
        for (const [use, bytes] of Object.entries(lifecycle.current?.costs.shares ?? {})) this.set({ use }, bytes)
      },
    })
    new Gauge({
      name: 'propetl_memory_held_bytes',
      help: 'Memory in use, for each use',
      labelNames: ['use'],
      registers: this.#registers,
      collect() {
        if (lifecycle.current === undefined) return
        const { costs, registry } = lifecycle.current
        this.set({ use: 'cache' }, registry.ready.cached.bytes)
        for (const [use, { held }] of Object.entries(costs.pools)) this.set({ use }, held)
      },
    })
    this.#gauge(
      'sliced_work_waiting',
      'Unfinished pieces of work that the event loop does in slices',
      watch((s) => s.costs.work.waiting, 0),
    )
    const following = () => lifecycle.current?.store.following
    this.#gauge(
      'database_connected',
      '1 while this replica can write to the shared database and follows its changes',
      () => {
        const database = following()
        return database && Number(database.connected)
      },
    )
    new Gauge({
      name: 'propetl_database_state',
      help: '1 for the state of the shared database as /health/ready reports it, 0 for the other states',
      labelNames: ['state'],
      registers: this.#registers,
      collect() {
        const current = following()?.state
        if (current !== undefined) for (const state of followingStates) this.set({ state }, Number(state === current))
      },
    })
    this.#gauge(
      'mirror_unwritten_bytes',
      'Bytes kept in memory because the mirror of the database cannot be written',
      () => following()?.mirror.unwrittenBytes,
    )
    this.#runningTotal(
      'mirror_copies_total',
      'Full copies of the database that this replica has made',
      () => following()?.mirror.copies ?? 0,
    )
    this.#runningTotal(
      'mirror_damaged_total',
      'Times that the mirror was damaged, missing or different from the database',
      () => following()?.mirror.damaged ?? 0,
    )
    this.#gauge(
      'database_behind_seconds',
      'Seconds since this replica last had every change of the shared database',
      () => {
        const database = following()
        return database && secondsBehind(database)
      },
    )
    this.#gauge(
      'certificate_valid_until_seconds',
      'Expiry of the HTTPS certificate, in seconds since the epoch',
      () => certificate && certificate.validUntil / 1000,
    )
    new Gauge({
      name: 'propetl_engine_info',
      help: 'Execution provider in use, as a label',
      labelNames: ['provider'],
      registers: this.#registers,
      collect() {
        if (lifecycle.current) this.set({ provider: lifecycle.current.engines.choice.provider }, 1)
      },
    })
  }

  request(method: string, route: string, status: number, seconds: number): void {
    this.#requests.observe({ method, route, status }, seconds)
  }

  tenantRequest(tenant: Owner, status: number): void {
    this.#tenantRequests.inc({ tenant: this.#nameOf(tenant), status })
  }

  tenantTokens(tenant: Owner, tokens: number): void {
    this.#tenantTokens.inc({ tenant: this.#nameOf(tenant) }, tokens)
  }

  batch({ rows, tokens, tasks, places, runMs, recomputed, waitsMs }: BatchReport): void {
    this.#rows.observe(rows)
    this.#tokens.observe(tokens)
    this.#tasks.observe(tasks)
    this.#padding.observe(1 - tokens / places)
    this.#busy.inc(runMs / 1000)
    this.#recomputed.inc(recomputed)
    for (const wait of waitsMs) this.#waits.observe(wait / 1000)
  }

  engineLost(cause: LossCause): void {
    this.#lost.inc({ cause })
  }

  engineNotReplaced(cause: NotReplacedCause): void {
    this.#notReplaced.inc({ cause })
  }

  dropped(reason: string, rows: number): void {
    this.#dropped.inc({ reason }, rows)
  }

  rejected(reason: string): void {
    this.#rejected.inc({ reason })
  }

  /** The first tenants get their own series; the others share one, because the number of series must be bounded. */
  #nameOf(tenant: Owner): Owner {
    const { size } = this.#namedTenants
    if (size < this.maxNamedTenants) this.#namedTenants.add(tenant)
    return this.#namedTenants.has(tenant) ? tenant : otherTenants
  }

  #histogram(name: string, help: string, options: { buckets: number[]; labelNames?: string[] }): Histogram {
    return new Histogram({ name: `propetl_${name}`, help, ...options, registers: this.#registers })
  }

  #counter(name: string, help: string, labelNames: string[] = []): Counter {
    return new Counter({ name: `propetl_${name}`, help, labelNames, registers: this.#registers })
  }

  /** @param figure returns undefined if there is no value */
  #gauge(name: string, help: string, figure: () => number | undefined): void {
    new Gauge({
      name: `propetl_${name}`,
      help,
      registers: this.#registers,
      collect() {
        const value = figure()
        if (value === undefined) this.remove()
        else this.set(value)
      },
    })
  }

  /** A counter whose total is counted elsewhere. */
  #runningTotal(name: string, help: string, total: () => number): void {
    new Counter({
      name: `propetl_${name}`,
      help,
      registers: this.#registers,
      collect() {
        this.reset()
        this.inc(total())
      },
    })
  }
}

/** Undefined while the store cannot be read: the other metrics still work. */
function whileReadable<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    if (error instanceof Problem) return undefined
    throw error
  }
}

const bankMeanings = {
  hits: 'Tasks of batches whose mask was in the bank',
  loads: 'Tasks of batches whose mask was loaded into the bank',
  evictions: 'Masks evicted from the bank',
}
