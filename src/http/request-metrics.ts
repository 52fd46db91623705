// Metrics that each process of the server has: its requests, its memory, and prom-client's process metrics. GET /metrics adds
// them up over all processes.

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry as MetricRegistry } from 'prom-client'
import type { Owner } from '../owner.js'
import { type ShadowOutcome, shadowOutcomes } from '../tasks/shadows.js'
import { otherTenants } from '../tenants/tenant.js'
import type { Lifecycle, PredictionServices } from './services.js'

/** Seconds. */
export const latencyBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

export class RequestMetrics {
  readonly registry = new MetricRegistry()
  readonly #registers = [this.registry]
  readonly #requests = this.histogram(
    'http_request_duration_seconds',
    'Duration of HTTP requests by method, route and status',
    {
      buckets: latencyBuckets,
      labelNames: ['method', 'route', 'status'],
    },
  )
  readonly #tenantRequests = this.counter('tenant_requests_total', 'Requests by tenant and status', [
    'tenant',
    'status',
  ])
  readonly #shadows = this.counter(
    'shadow_predictions_total',
    'Texts that candidates were to predict in the background: the prediction was that of the active version (same) or another one (different), there was too much load (dropped), or the candidate cannot predict the text (failed)',
    ['outcome'],
  )
  readonly #namedTenants = new Set<Owner>()

  constructor(
    lifecycle: Lifecycle<PredictionServices>,
    /** Most tenants with their own time series. */
    readonly maxNamedTenants: number,
  ) {
    collectDefaultMetrics({ register: this.registry })
    addMemoryGauges(this.registry, lifecycle)
    for (const outcome of shadowOutcomes) this.#shadows.inc({ outcome }, 0)
  }

  request(method: string, route: string, status: number, seconds: number): void {
    this.#requests.observe({ method, route, status }, seconds)
  }

  tenantRequest(tenant: Owner, status: number): void {
    this.#tenantRequests.inc({ tenant: this.nameOf(tenant), status })
  }

  shadow(outcome: ShadowOutcome, texts: number): void {
    this.#shadows.inc({ outcome }, texts)
  }

  /** The first tenants get their own series; the others share one, because the number of series must be bounded. */
  protected nameOf(tenant: Owner): Owner {
    const { size } = this.#namedTenants
    if (size < this.maxNamedTenants) this.#namedTenants.add(tenant)
    return this.#namedTenants.has(tenant) ? tenant : otherTenants
  }

  protected histogram(name: string, help: string, options: { buckets: number[]; labelNames?: string[] }): Histogram {
    return new Histogram({ name: `propetl_${name}`, help, ...options, registers: this.#registers })
  }

  protected counter(name: string, help: string, labelNames: string[] = []): Counter {
    return new Counter({ name: `propetl_${name}`, help, labelNames, registers: this.#registers })
  }
}

function addMemoryGauges(registry: MetricRegistry, lifecycle: Lifecycle<PredictionServices>): void {
  const registers = [registry]
  const gauge = (name: string, help: string, figure: (services: PredictionServices) => number): void => {
    new Gauge({
      name: `propetl_${name}`,
      help,
      registers,
      collect() {
        this.set(lifecycle.current ? figure(lifecycle.current) : 0)
      },
    })
  }
  gauge('cache_bytes', 'Bytes of cached tasks', ({ registry }) => registry.ready.cached.bytes)
  gauge('cache_tasks', 'Number of cached tasks', ({ registry }) => registry.ready.cached.tasks)
  gauge(
    'sliced_work_waiting',
    'Unfinished pieces of work that the event loop does in slices',
    ({ costs }) => costs.work.waiting,
  )
  new Gauge({
    name: 'propetl_memory_share_bytes',
    help: 'Most memory for each use',
    labelNames: ['use'],
    registers,
    collect() {
      for (const [use, bytes] of Object.entries(lifecycle.current?.costs.shares ?? {})) this.set({ use }, bytes)
    },
  })
  new Gauge({
    name: 'propetl_memory_held_bytes',
    help: 'Memory in use, for each use',
    labelNames: ['use'],
    registers,
    collect() {
      if (lifecycle.current === undefined) return
      const { costs, registry } = lifecycle.current
      this.set({ use: 'cache' }, registry.ready.cached.bytes)
      for (const [use, { held }] of Object.entries(costs.pools)) this.set({ use }, held)
    },
  })
}
