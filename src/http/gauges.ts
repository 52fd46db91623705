// Metrics of the current state: Prometheus reads them when it scrapes the server.

import { Counter, Gauge, type Registry } from 'prom-client'
import { abandonedThreadCount } from '../engine/abandoned-threads.js'
import { Problem } from '../problem.js'
import { followingStates, secondsBehind } from '../store/store.js'
import type { Certificate } from './certificate.js'
import type { Lifecycle, Services } from './services.js'

/** Adds them to a registry. Before the services are ready, most of them are 0. */
export function addGauges(
  registry: Registry,
  lifecycle: Lifecycle,
  certificate: Pick<Certificate, 'validUntil'> | undefined,
): void {
  const registers = [registry]
  /** @param figure returns undefined if there is no value */
  const gauge = (name: string, help: string, figure: () => number | undefined): void => {
    new Gauge({
      name: `propetl_${name}`,
      help,
      registers,
      collect() {
        const value = figure()
        if (value === undefined) this.remove()
        else this.set(value)
      },
    })
  }
  /** A counter whose total is counted elsewhere. */
  const runningTotal = (name: string, help: string, total: () => number): void => {
    new Counter({
      name: `propetl_${name}`,
      help,
      registers,
      collect() {
        this.reset()
        this.inc(total())
      },
    })
  }
  const watch =
    <T>(figure: (services: Services) => T) =>
    (): T | 0 =>
      lifecycle.current ? figure(lifecycle.current) : 0
  gauge(
    'queue_rows',
    'Rows in the queue',
    watch((s) => s.dispatcher.queuedRows),
  )
  gauge(
    'queue_oldest_seconds',
    'Waiting time of the oldest row in the queue',
    watch((s) => s.dispatcher.oldestMs / 1000),
  )
  gauge(
    'queue_estimated_wait_seconds',
    'Estimated time to compute all rows in the queue',
    watch((s) => s.dispatcher.estimatedWaitMs / 1000),
  )
  gauge(
    'batch_tokens_limit',
    'Token budget: the most tokens of one batch',
    watch((s) => s.dispatcher.options.maxTokens),
  )
  gauge(
    'registered_tasks',
    'Tasks that the server can serve',
    watch((s) => whileReadable(() => s.registry.count)),
  )
  gauge(
    'jobs_running',
    'Jobs that run in this process',
    watch((s) => s.learning.runner.running),
  )
  gauge(
    'jobs_unfinished',
    'Jobs that wait or run, of all replicas',
    watch((s) => whileReadable(() => s.store.count('unfinished'))),
  )
  gauge(
    'stored_examples',
    'Examples in the store, also deleted ones that are not removed yet',
    watch((s) => whileReadable(() => s.store.count('examples'))),
  )
  gauge(
    'removed_datasets',
    'Deleted sets of examples whose records are not all removed from the store',
    watch((s) => whileReadable(() => s.store.count('removals'))),
  )
  gauge(
    'example_file_bytes',
    'Bytes that files of examples may take while they are received and read',
    watch((s) => s.uploads.files.held),
  )
  gauge(
    'storage_available',
    '1 while the files of the data directory are in place and can be written',
    watch((s) => Number(s.store.failure === undefined)),
  )
  gauge(
    'engines_available',
    'Engines that run',
    watch((s) => s.engines.available),
  )
  gauge(
    'engines_configured',
    'Engines that should run',
    watch((s) => s.engines.all.length),
  )
  gauge(
    'engine_threads_left_behind',
    'Abandoned threads: hung engine threads that were replaced and have not ended',
    abandonedThreadCount,
  )
  gauge(
    'ready',
    '1 once the engine has computed a warm-up batch',
    watch(() => 1),
  )
  for (const event of ['hits', 'loads', 'evictions'] as const)
    runningTotal(
      `bank_${event}_total`,
      bankMeanings[event],
      watch((s) => s.engines.bank[event]),
    )
  runningTotal(
    'kept_texts_total',
    'Texts of recent requests that were written to the store, for suggestions',
    watch((s) => s.suggestions.kept),
  )
  runningTotal(
    'kept_texts_dropped_total',
    'Texts of recent requests that were to be kept, and were not: no memory, no room in the quota, or no store',
    watch((s) => s.suggestions.dropped),
  )
  gauge(
    'memory_limit_bytes',
    'Memory that the server may use',
    watch((s) => s.costs.memory.bytes),
  )
  gauge('http_workers_configured', 'HTTP workers that should run', () => lifecycle.current?.workers?.configured)
  gauge('http_workers_available', 'HTTP workers that run', () => lifecycle.current?.workers?.available)
  runningTotal(
    'http_workers_lost_total',
    'HTTP workers that ended unexpectedly',
    watch((s) => s.workers?.lost ?? 0),
  )
  const following = () => lifecycle.current?.store.following
  gauge('database_connected', '1 while this replica can write to the shared database and follows its changes', () => {
    const database = following()
    return database && Number(database.connected)
  })
  new Gauge({
    name: 'propetl_database_state',
    help: '1 for the state of the shared database as /health/ready reports it, 0 for the other states',
    labelNames: ['state'],
    registers,
    collect() {
      const current = following()?.state
      if (current !== undefined) for (const state of followingStates) this.set({ state }, Number(state === current))
    },
  })
  gauge(
    'mirror_unwritten_bytes',
    'Bytes kept in memory because the mirror of the database cannot be written',
    () => following()?.mirror.unwrittenBytes,
  )
  runningTotal(
    'mirror_copies_total',
    'Full copies of the database that this replica has made',
    () => following()?.mirror.copies ?? 0,
  )
  runningTotal(
    'mirror_damaged_total',
    'Times that the mirror was damaged, missing or different from the database',
    () => following()?.mirror.damaged ?? 0,
  )
  gauge('database_behind_seconds', 'Seconds since this replica last had every change of the shared database', () => {
    const database = following()
    return database && secondsBehind(database)
  })
  gauge(
    'certificate_valid_until_seconds',
    'Expiry of the HTTPS certificate, in seconds since the epoch',
    () => certificate && certificate.validUntil / 1000,
  )
  new Gauge({
    name: 'propetl_engine_info',
    help: 'Execution provider in use, as a label',
    labelNames: ['provider'],
    registers,
    collect() {
      if (lifecycle.current) this.set({ provider: lifecycle.current.engines.choice.provider }, 1)
    },
  })
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
