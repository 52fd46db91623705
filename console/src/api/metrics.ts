// Reads the text of /metrics: numbers by name and labels.

export interface Sample {
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

export type Metrics = ReadonlyMap<string, readonly Sample[]>

export function parseMetrics(text: string): Metrics {
  const found = new Map<string, Sample[]>()
  for (const line of text.split('\n')) {
    const [, name = '', labels = '', value = ''] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line) ?? []
    if (name === '') continue
    const samples = found.get(name) ?? []
    found.set(name, samples)
    const pairs = Array.from(labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g), ([, key = '', written = '']) => [
      key,
      written,
    ])
    samples.push({
      labels: Object.fromEntries(pairs),
      value: value === '+Inf' ? Number.POSITIVE_INFINITY : Number(value),
    })
  }
  return found
}

/** The sum of all samples of a name; undefined if there is none. */
export function sum(
  metrics: Metrics,
  name: string,
  wanted: (labels: Sample['labels']) => boolean = () => true,
): number | undefined {
  const samples = metrics.get(name)?.filter(({ labels }) => wanted(labels))
  return samples === undefined ? undefined : samples.reduce((total, { value }) => total + value, 0)
}

/** Counts of a histogram by upper bound, added over all samples that are wanted. */
export function buckets(
  metrics: Metrics,
  name: string,
  wanted: (labels: Sample['labels']) => boolean = () => true,
): Map<number, number> {
  const counts = new Map<number, number>()
  for (const { labels, value } of metrics.get(`${name}_bucket`) ?? []) {
    if (!wanted(labels)) continue
    const bound = labels.le === '+Inf' ? Number.POSITIVE_INFINITY : Number(labels.le)
    counts.set(bound, (counts.get(bound) ?? 0) + value)
  }
  return counts
}

/** The quantile of what was counted between two readings, interpolated within its bucket; null if nothing was. */
export function quantile(before: Map<number, number>, after: Map<number, number>, q: number): number | null {
  const bounds = [...after.keys()].sort((a, b) => a - b)
  const counted = (bound: number) => (after.get(bound) ?? 0) - (before.get(bound) ?? 0)
  const total = counted(bounds.at(-1) ?? 0)
  if (total <= 0) return null
  let low = 0
  let below = 0
  for (const bound of bounds) {
    const upTo = counted(bound)
    if (upTo >= q * total) {
      if (!Number.isFinite(bound)) return low
      return upTo === below ? bound : low + ((bound - low) * (q * total - below)) / (upTo - below)
    }
    low = bound
    below = upTo
  }
  return low
}
