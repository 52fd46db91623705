// Prometheus metrics of the server, under names that begin with propetl_, beside prom-client's own process figures.

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

  readonly #requests = this.#histogram('http_request_duration_seconds', 'Requests by method, route and status', {
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
    labelNames: ['method', 'route', 'status'],
  })
  readonly #waits = this.#histogram('queue_wait_seconds', 'How long rows waited for their batch', {
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
  })
  readonly #rows = this.#histogram('batch_rows', 'Rows of a batch', { buckets: powersOfTwo(1, 512) })
  readonly #tokens = this.#histogram('batch_tokens', 'Tokens of a batch', { buckets: powersOfTwo(8, 8192) })
  readonly #tasks = this.#histogram('batch_tasks', 'Different tasks in a batch', { buckets: powersOfTwo(1, 256) })
  readonly #padding = this.#histogram(
    'batch_padding_ratio',
    'Share of padding among the places that attention and modules see; dense layers see none',
    { buckets: [0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75] },
  )
  readonly #busy = this.#counter('engine_busy_seconds_total', "Time that the engine's thread worked")
  readonly #recomputed = this.#counter(
    'recomputed_rows_total',
    'Rows computed once more in float32, for float16 did not hold their numbers',
  )
  readonly #dropped = this.#counter('queue_dropped_rows_total', 'Rows dropped before they were computed', ['reason'])
  readonly #rejected = this.#counter(
    'refused_requests_total',
    'Requests refused when they came: they would have waited too long (wait), found no room (room), would take longer than they may (deadline), or engines were lost with one of their texts (text)',
    ['reason'],
  )
  readonly #lost = this.#counter(
    'engines_lost_total',
    'Engines lost: they hung (hung), failed (failed), ran out of memory (out_of_memory), or lost their device (provider_lost)',
    ['cause'],
  )
  readonly #notReplaced = this.#counter(
    'engines_not_replaced_total',
    'Attempts to replace an engine without success: the start failed (start_failed), or threads that hang left no room for it (left_behind)',
    ['cause'],
  )
  readonly #tenantRequests = this.#counter('tenant_requests_total', 'Requests by tenant and status', [
    'tenant',
    'status',
  ])
  readonly #tenantTokens = this.#counter('tenant_tokens_total', 'Tokens of texts that were admitted, by tenant', [
    'tenant',
  ])
  readonly #namedTenants = new Set<Owner>()

  constructor(
    lifecycle: Lifecycle,
    /** Tenants that have series of their own. */
    readonly maxNamedTenants: number,
    certificate?: Pick<Certificate, 'validUntil'>,
  ) {
    collectDefaultMetrics({ register: this.registry })
    // A series that begins with the first loss would hide it from increase().
    for (const cause of lossCauses) this.#lost.inc({ cause }, 0)
    for (const cause of notReplacedCauses) this.#notReplaced.inc({ cause }, 0)
    const watch =
      <T>(figure: (services: Services) => T, none: T) =>
      (): T =>
        lifecycle.current ? figure(lifecycle.current) : none
    this.#gauge(
      'queue_rows',
      'Rows that wait for the engine',
      watch((s) => s.dispatcher.queuedRows, 0),
    )
    this.#gauge(
      'queue_oldest_seconds',
      'How long the row has been waiting that waits longest',
      watch((s) => s.dispatcher.oldestMs / 1000, 0),
    )
    this.#gauge(
      'queue_estimated_wait_seconds',
      'How long it will take to serve all rows that wait',
      watch((s) => s.dispatcher.estimatedWaitMs / 1000, 0),
    )
    this.#gauge(
      'batch_tokens_limit',
      'Tokens that a batch may have',
      watch((s) => s.dispatcher.options.maxTokens, 0),
    )
    this.#gauge(
      'registered_tasks',
      'Tasks that are served',
      watch((s) => whileReadable(() => s.registry.count), 0),
    )
    this.#gauge(
      'storage_available',
      '1 while the files of the data directory are those that were opened, and take changes',
      watch((s) => Number(s.store.failure === undefined), 0),
    )
    this.#gauge(
      'cache_bytes',
      'Bytes of tasks in use that are cached',
      watch((s) => s.registry.ready.cached.bytes, 0),
    )
    this.#gauge(
      'cache_tasks',
      'Tasks in use that are cached',
      watch((s) => s.registry.ready.cached.tasks, 0),
    )
    this.#gauge(
      'engines_available',
      'Engines whose thread answers',
      watch((s) => s.engines.available, 0),
    )
    this.#gauge(
      'engines_configured',
      'Engines that there should be',
      watch((s) => s.engines.all.length, 0),
    )
    this.#gauge(
      'engine_threads_left_behind',
      'Threads of engines that were given up and have not ended',
      abandonedThreadCount,
    )
    this.#gauge(
      'ready',
      '1 once the model has answered a warm-up batch',
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
      'Memory that the process may take',
      watch((s) => s.costs.memory.bytes, 0),
    )
    new Gauge({
      name: 'propetl_memory_share_bytes',
      help: 'What each use of memory may take at one time',
      labelNames: ['use'],
      registers: this.#registers,
      collect() {
        for (const [use, bytes] of Object.entries(lifecycle.current?.costs.shares ?? {})) this.set({ use }, bytes)
      },
    })
    new Gauge({
      name: 'propetl_memory_held_bytes',
      help: 'What each use of memory takes now',
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
      'Pieces of work that the event loop does in slices and that are not finished',
      watch((s) => s.costs.work.waiting, 0),
    )
    const following = () => lifecycle.current?.store.following
    this.#gauge('database_connected', '1 while changes of the shared database are taken and followed', () => {
      const database = following()
      return database && Number(database.connected)
    })
    new Gauge({
      name: 'propetl_database_state',
      help: '1 for how this replica stands to the shared database, as /health/ready tells, and 0 for the other states',
      labelNames: ['state'],
      registers: this.#registers,
      collect() {
        const current = following()?.state
        if (current !== undefined) for (const state of followingStates) this.set({ state }, Number(state === current))
      },
    })
    this.#gauge(
      'mirror_unwritten_bytes',
      'What is kept in memory because the mirror of the database cannot be written',
      () => following()?.mirror.unwrittenBytes,
    )
    this.#runningTotal(
      'mirror_copies_total',
      'Full copies of the database that this replica made',
      () => following()?.mirror.copies ?? 0,
    )
    this.#runningTotal(
      'mirror_damaged_total',
      'How often the mirror of the database was found damaged, lost or different from the database',
      () => following()?.mirror.damaged ?? 0,
    )
    this.#gauge('database_behind_seconds', 'Since this replica last knew every change of the shared database', () => {
      const database = following()
      return database && secondsBehind(database)
    })
    this.#gauge(
      'certificate_valid_until_seconds',
      'Until when the certificate is valid that HTTPS is served with, in seconds of the epoch',
      () => certificate && certificate.validUntil / 1000,
    )
    new Gauge({
      name: 'propetl_engine_info',
      help: 'Execution provider that runs, as a label',
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

  /** The first so many tenants that ask anything are told apart; the series would be endless otherwise. */
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

  /** @param figure undefined where there is nothing to say */
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

  /** A counter whose total is kept elsewhere. */
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

/** Undefined while the store cannot be read: the other metrics go on. */
function whileReadable<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    if (error instanceof Problem) return undefined
    throw error
  }
}

const bankMeanings = {
  hits: 'Tasks of a batch whose masks were in the bank',
  loads: 'Tasks of a batch whose masks were loaded into the bank',
  evictions: 'Masks that made room for others in the bank',
}
