// Whether the server is ready, and how it does now: throughput, latency, queue and engines.

import { useEffect, useState } from 'preact/hooks'
import type { ApiError } from '../api/client.js'
import { get, getText } from '../api/client.js'
import { buckets, type Metrics, parseMetrics, quantile, type Sample, sum } from '../api/metrics.js'
import { asApiError, useLoaded } from '../api/query.js'
import type { Role } from '../api/session.js'
import type { HealthReport } from '../api/types.js'
import { bytes, count, percent, short } from '../format.js'
import { Chart } from '../ui/chart.js'
import { Badge, Bar, Facts, Loading, Problem } from '../ui/parts.js'

const everyMs = 2000
const shownSeconds = 120
const mostPoints = (shownSeconds * 1000) / everyMs

export function HealthPage({ role }: { readonly role: Role }) {
  const { data, error, reload } = useLoaded('health', (signal) => get<HealthReport>('health/ready', {}, signal), 5000)
  return (
    <>
      <div class="heading">
        <h1>Health</h1>
        {data && !error && <Badge tone="good">ready</Badge>}
        {error && <Badge tone="bad">not ready</Badge>}
      </div>
      <div class="stack">
        <Problem error={error} onRetry={reload} />
        {!data && !error && <Loading what="the state of the server" />}
        {role === 'tenant' ? <p class="soft">Throughput and latency are for the operator.</p> : <Live />}
        {data && <Server report={data} />}
      </div>
    </>
  )
}

function Server({
  report: { provider, numerics, reason, engines, model, prototype, advice, tasks, memory, http_workers, database },
}: {
  readonly report: HealthReport
}) {
  return (
    <section class="card" aria-labelledby="server">
      <h2 id="server">Server</h2>
      <Facts
        facts={[
          { name: 'engines', value: `${engines.available} of ${engines.configured} run` },
          {
            name: 'computes on',
            value: (
              <span title={reason}>
                {provider}, {numerics}
              </span>
            ),
          },
          { name: 'backbone', value: `${model.type}, ${model.layers} layers, ${model.hidden_size} wide` },
          { name: 'prototype', value: prototype?.kind ?? advice ?? 'none' },
          { name: 'tasks of the operator', value: count(tasks) },
          { name: 'memory', value: `${bytes(memory.limit_bytes)}, by the ${memory.source}` },
          ...(http_workers
            ? [{ name: 'HTTP workers', value: `${http_workers.available} of ${http_workers.configured} run` }]
            : []),
          ...(database
            ? [
                {
                  name: 'database',
                  value: database.connected ? 'connected' : `${database.state}, ${database.behind_seconds} s behind`,
                },
              ]
            : []),
          ...(engines.left_behind > 0 ? [{ name: 'abandoned threads', value: count(engines.left_behind) }] : []),
        ]}
      />
    </section>
  )
}

interface Point {
  readonly time: number
  readonly requests: number | null
  readonly rows: number | null
  readonly p50: number | null
  readonly p99: number | null
  readonly queue: number | null
  readonly busy: number | null
}

interface Reading {
  readonly time: number
  readonly metrics: Metrics
}

const duration = 'propetl_http_request_duration_seconds'
const isPrediction = ({ route = '' }: Sample['labels']): boolean => route.endsWith('/predict')

function pointOf(before: Reading | undefined, { time, metrics }: Reading): Point {
  const seconds = before ? time - before.time : 0
  const rate = (name: string, wanted?: (labels: Sample['labels']) => boolean) => {
    const [now, then] = [sum(metrics, name, wanted), before && sum(before.metrics, name, wanted)]
    return now === undefined || then === undefined || seconds <= 0 ? null : Math.max(0, (now - then) / seconds)
  }
  const latency = (q: number) => {
    if (!before) return null
    const found = quantile(buckets(before.metrics, duration, isPrediction), buckets(metrics, duration, isPrediction), q)
    return found === null ? null : found * 1000
  }
  const busy = rate('propetl_engine_busy_seconds_total')
  return {
    time,
    requests: rate(`${duration}_count`, isPrediction),
    rows: rate('propetl_batch_rows_sum'),
    p50: latency(0.5),
    p99: latency(0.99),
    queue: sum(metrics, 'propetl_queue_rows') ?? null,
    busy: busy === null ? null : busy / Math.max(1, sum(metrics, 'propetl_engines_available') ?? 1),
  }
}

/** Reads the metrics again and again while the page is visible. */
function useReadings(): {
  readonly points: readonly Point[]
  readonly latest: Metrics | undefined
  readonly error: ApiError | undefined
} {
  const [state, setState] = useState<{ points: readonly Point[]; latest?: Metrics; error?: ApiError }>({ points: [] })
  useEffect(() => {
    const stop = new AbortController()
    let timer: ReturnType<typeof setTimeout> | undefined
    let before: Reading | undefined
    const read = async () => {
      if (!document.hidden) {
        try {
          const metrics = parseMetrics(await getText('metrics', stop.signal))
          const reading = { time: Date.now() / 1000, metrics }
          const point = pointOf(before, reading)
          const isFirst = before === undefined
          before = reading
          setState(({ points }) => ({
            points: isFirst ? points : [...points, point].slice(-mostPoints),
            latest: metrics,
          }))
        } catch (error) {
          if (stop.signal.aborted) return
          setState(({ points }) => ({ points, error: asApiError(error) }))
        }
      }
      if (!stop.signal.aborted) timer = setTimeout(() => void read(), everyMs)
    }
    void read()
    return () => {
      stop.abort()
      clearTimeout(timer)
    }
  }, [])
  return { points: state.points, latest: state.latest, error: state.error }
}

const secondsAgo = (seconds: number): string => (seconds === 0 ? 'now' : `${seconds} s`)
const ms = (value: number): string => `${short(value)} ms`

function Live() {
  const { points, latest, error } = useReadings()
  if (error) return <Problem error={error} />
  const now = points.at(-1)?.time ?? 0
  const x = points.map(({ time }) => time - now)
  const of = (name: Exclude<keyof Point, 'time'>) => points.map((point) => point[name])
  const common = { x, xRange: [-shownSeconds, 0], xFormat: secondsAgo, height: 150, yFromZero: true } as const
  return (
    <>
      <div class="charts">
        <Chart
          {...common}
          title="Throughput, per second"
          lines={[
            { label: 'requests', values: of('requests'), color: 1 },
            { label: 'texts', values: of('rows'), color: 2 },
          ]}
          format={short}
        />
        <Chart
          {...common}
          title="Latency of predictions"
          lines={[
            { label: 'p50', values: of('p50'), color: 1, joined: true },
            { label: 'p99', values: of('p99'), color: 2, joined: true },
          ]}
          format={ms}
        />
        <Chart
          {...common}
          title="Texts in the queue"
          lines={[{ label: 'texts', values: of('queue'), color: 3 }]}
          format={short}
        />
        <Chart
          {...common}
          title="Engines at work"
          lines={[{ label: 'busy', values: of('busy'), color: 3 }]}
          format={(share) => percent(share)}
        />
      </div>
      {latest && <Now metrics={latest} />}
    </>
  )
}

function Now({ metrics }: { readonly metrics: Metrics }) {
  const held = metrics.get('propetl_memory_held_bytes') ?? []
  const shares = new Map(
    (metrics.get('propetl_memory_share_bytes') ?? []).map(({ labels, value }) => [labels.use, value]),
  )
  const hits = sum(metrics, 'propetl_bank_hits_total') ?? 0
  const loads = sum(metrics, 'propetl_bank_loads_total') ?? 0
  const tenants = metrics.get('propetl_tenant_requests_total') ?? []
  const byTenant = new Map<string, number>()
  for (const { labels, value } of tenants)
    byTenant.set(labels.tenant ?? '', (byTenant.get(labels.tenant ?? '') ?? 0) + value)
  return (
    <section class="card" aria-labelledby="now">
      <h2 id="now">Since the start</h2>
      <Facts
        facts={[
          { name: 'tasks', value: count(sum(metrics, 'propetl_registered_tasks') ?? 0) },
          { name: 'predictions', value: short(sum(metrics, 'propetl_batch_rows_sum') ?? 0) },
          { name: 'rejected requests', value: count(sum(metrics, 'propetl_refused_requests_total') ?? 0) },
          { name: 'masks found in the bank', value: hits + loads === 0 ? '–' : percent(hits / (hits + loads)) },
          { name: 'engines lost', value: count(sum(metrics, 'propetl_engines_lost_total') ?? 0) },
        ]}
      />
      <h3>Memory</h3>
      <ul class="bars">
        {held.map(({ labels: { use = '' }, value }) => (
          <li key={use}>
            <span class="name">{use === 'answers' ? 'responses' : use}</span>
            <Bar share={value / (shares.get(use) ?? Number.POSITIVE_INFINITY)} />
            <span class="value">{bytes(value)}</span>
          </li>
        ))}
      </ul>
      {byTenant.size > 0 && (
        <>
          <h3>Requests of tenants</h3>
          <ul class="bars">
            {[...byTenant]
              .sort(([, a], [, b]) => b - a)
              .slice(0, 10)
              .map(([tenant, requests], _index, all) => (
                <li key={tenant}>
                  <span class="name">{tenant}</span>
                  <Bar share={requests / (all[0]?.[1] ?? requests)} />
                  <span class="value">{short(requests)}</span>
                </li>
              ))}
          </ul>
        </>
      )}
    </section>
  )
}
