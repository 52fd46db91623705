// Adds up the metrics of several processes.

import { AggregatorRegistry, type MetricObjectWithValues, type MetricValue } from 'prom-client'

/** The metrics of one process. */
export type Snapshot = readonly MetricObjectWithValues<MetricValue<string>>[]

/** How the values of processes make one, where prom-client would omit it or take the mean. The others are added up. */
const mergedBy: readonly (readonly [name: RegExp, how: 'first' | 'max'])[] = [
  [/^process_start_time_seconds$/, 'first'],
  [/^nodejs_eventloop_lag_(?!min)/, 'max'],
]

/** @param snapshots that of the process whose start time counts comes first */
export function mergedText(snapshots: readonly Snapshot[]): Promise<string> {
  return merged(snapshots).metrics()
}

/** The sum of what two snapshots have counted. */
export function addCounts(a: Snapshot, b: Snapshot): Promise<Snapshot> {
  // The types of prom-client give the kind as a number, but it is a string.
  const counts = (snapshot: Snapshot) => snapshot.filter(({ type }) => ['counter', 'histogram'].includes(String(type)))
  return merged([counts(a), counts(b)]).getMetricsAsJSON()
}

function merged(snapshots: readonly Snapshot[]) {
  const all = snapshots.map((snapshot) =>
    snapshot.map((metric) => {
      const [, aggregator = metric.aggregator] = mergedBy.find(([name]) => name.test(metric.name)) ?? []
      return { ...metric, aggregator }
    }),
  )
  return AggregatorRegistry.aggregate(all)
}
