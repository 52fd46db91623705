// The Prometheus metrics of the server. This file counts events; gauges.ts has the current state. Names begin with propetl_.

import { setTimeout as delay } from 'node:timers/promises'
import { type LossCause, lossCauses } from '../engine/engine-lost.js'
import { type NotReplacedCause, notReplacedCauses } from '../engine/supervised-engine.js'
import { isUnfinished, type JobState, jobStates } from '../jobs/job.js'
import type { Owner } from '../owner.js'
import type { BatchReport } from '../scheduler/batch-runner.js'
import type { Certificate } from './certificate.js'
import { addGauges } from './gauges.js'
import { mergedText, type Snapshot } from './merged-metrics.js'
import { Pace } from './pace.js'
import { latencyBuckets, RequestMetrics } from './request-metrics.js'
import type { Lifecycle } from './services.js'

/** Least time between two times that the metrics are written as text, in milliseconds. It takes some milliseconds. */
const writeEveryMs = 100

const endStates = jobStates.filter((state) => !isUnfinished(state))

const powersOfTwo = (first: number, last: number) =>
  Array.from({ length: Math.log2(last / first) + 1 }, (_, i) => first * 2 ** i)

export class Metrics extends RequestMetrics {
  readonly #waits = this.histogram('queue_wait_seconds', 'Time that rows waited in the queue', {
    buckets: latencyBuckets,
  })
  readonly #rows = this.histogram('batch_rows', 'Rows per batch', { buckets: powersOfTwo(1, 512) })
  readonly #tokens = this.histogram('batch_tokens', 'Tokens per batch', { buckets: powersOfTwo(8, 8192) })
  readonly #tasks = this.histogram('batch_tasks', 'Different tasks per batch', { buckets: powersOfTwo(1, 256) })
  readonly #padding = this.histogram(
    'batch_padding_ratio',
    'Share of padding in the token positions that attention and PETL modules compute; dense layers compute no padding',
    { buckets: [0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75] },
  )
  readonly #busy = this.counter('engine_busy_seconds_total', 'Time that engine threads spent on batches')
  readonly #recomputed = this.counter(
    'recomputed_rows_total',
    'Rows computed again in float32 because they exceeded the range of float16',
  )
  readonly #dropped = this.counter('queue_dropped_rows_total', 'Rows dropped from the queue before execution', [
    'reason',
  ])
  readonly #rejected = this.counter(
    'refused_requests_total',
    'Requests rejected by admission control: they would have waited too long (wait), the queue was full (room), they would have missed their deadline (deadline), or engines had failed with one of their texts (text)',
    ['reason'],
  )
  readonly #lost = this.counter(
    'engines_lost_total',
    'Engines that hung (hung), failed (failed), ran out of memory (out_of_memory) or lost their device (provider_lost)',
    ['cause'],
  )
  readonly #notReplaced = this.counter(
    'engines_not_replaced_total',
    'Failed attempts to replace an engine: the start failed (start_failed), or abandoned threads left no room for it (left_behind)',
    ['cause'],
  )
  readonly #jobs = this.counter('jobs_total', 'Jobs that have ended, by their state', ['state'])
  readonly #learning = this.histogram('learning_seconds', 'Time from the last start of a job to its end', {
    buckets: [1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500],
  })
  readonly #tenantTokens = this.counter('tenant_tokens_total', 'Tokens of admitted texts by tenant', ['tenant'])
  readonly #pace = new Pace(writeEveryMs)
  #nextText: Promise<string> | undefined
  /** The metrics of the server's other processes. */
  others: () => Promise<readonly Snapshot[]> = async () => []

  constructor(lifecycle: Lifecycle, maxNamedTenants: number, certificate?: Pick<Certificate, 'validUntil'>) {
    super(lifecycle, maxNamedTenants)
    // increase() would miss the first loss if the series began with it.
    for (const cause of lossCauses) this.#lost.inc({ cause }, 0)
    for (const cause of notReplacedCauses) this.#notReplaced.inc({ cause }, 0)
    for (const state of endStates) this.#jobs.inc({ state }, 0)
    addGauges(this.registry, lifecycle, certificate)
  }

  /** The metrics in the text format of Prometheus, no older than the call. Calls that wait at the same time share the text. */
  text(): Promise<string> {
    this.#nextText ??= delay(this.#pace.take()).then(async () => {
      this.#nextText = undefined
      const others = await this.others()
      return others.length === 0
        ? this.registry.metrics()
        : mergedText([await this.registry.getMetricsAsJSON(), ...others])
    })
    return this.#nextText
  }

  tenantTokens(tenant: Owner, tokens: number): void {
    this.#tenantTokens.inc({ tenant: this.nameOf(tenant) }, tokens)
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

  /** @param seconds of its last start; undefined if it never ran */
  jobEnded(state: JobState, seconds: number | undefined): void {
    this.#jobs.inc({ state })
    if (seconds !== undefined) this.#learning.observe(seconds)
  }

  dropped(reason: string, rows: number): void {
    this.#dropped.inc({ reason }, rows)
  }

  rejected(reason: string): void {
    this.#rejected.inc({ reason })
  }
}
