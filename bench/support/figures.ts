// What a benchmark returns, and the statistics that benchmarks share.

export interface Figure {
  /** What was measured, as readers of the benchmarks page see it. */
  readonly name: string
  /** Empty for a count. */
  readonly unit: string
  /** The median over the repeats, or the statistic that the name states. */
  readonly value: number
  /** Smallest and largest repeat. */
  readonly spread: readonly [number, number]
  readonly repeats: number
  /** What the value must reach. Absent if the figure is only for comparison. */
  readonly target?: { readonly atMost: number } | { readonly atLeast: number }
  /** Absolute values behind a ratio, and whatever else a reader needs. A key ends with the unit: `p99 ms`. */
  readonly notes?: Readonly<Record<string, number | string>>
}

export type Log = (progress: string) => void

export type Benchmark = (log: Log) => Promise<readonly Figure[]>

const sorted = (values: readonly number[]) => values.toSorted((a, b) => a - b)

/** @returns the smallest value that is larger than a `share` of the values */
export function quantile(values: readonly number[], share: number): number {
  const ascending = sorted(values)
  const value = ascending[Math.min(ascending.length - 1, Math.floor(share * ascending.length))]
  if (value === undefined) throw new Error('a quantile needs at least one value')
  return value
}

export const median = (values: readonly number[]): number => quantile(values, 0.5)

/** A value that was observed at a point in time. */
export interface Sample {
  readonly at: number
  readonly value: number
}

/**
 * A robust slope: the median of the slopes over all pairs of samples (Theil 1950, Sen 1968), and its 95 % confidence
 * interval (Sen's interval from the variance of Kendall's S).
 */
export function slopeOf(samples: readonly Sample[]): {
  readonly slope: number
  readonly interval: readonly [number, number]
} {
  const slopes = sorted(samples.flatMap((a, i) => samples.slice(i + 1).map((b) => (b.value - a.value) / (b.at - a.at))))
  const n = samples.length
  const spread = 1.96 * Math.sqrt((n * (n - 1) * (2 * n + 5)) / 18)
  const at = (rank: number) => slopes[Math.max(0, Math.min(slopes.length - 1, rank))] ?? Number.NaN
  const [below, above] = [Math.round((slopes.length - spread) / 2) - 1, Math.round((slopes.length + spread) / 2)]
  return { slope: median(slopes), interval: [at(below), at(above)] }
}

/** The lowest sample of each window of time. */
export function lowerEnvelope(samples: readonly Sample[], window: number): Sample[] {
  const lowest = new Map<number, Sample>()
  for (const sample of samples) {
    const index = Math.floor(sample.at / window)
    const low = lowest.get(index)
    if (low === undefined || sample.value < low.value) lowest.set(index, sample)
  }
  return [...lowest.values()]
}

/** The median, spread and number of repeats of a figure. */
export const summary = (values: readonly number[]) => ({
  value: median(values),
  spread: [Math.min(...values), Math.max(...values)] as const,
  repeats: values.length,
})

/** The value, spread and number of repeats of a figure that was measured once. */
export const once = (value: number) => ({ value, spread: [value, value] as const, repeats: 1 })

/** Two sides that were measured in alternation, and the ratio a / b of each round. */
export interface Rounds {
  readonly a: readonly number[]
  readonly b: readonly number[]
  readonly ratios: readonly number[]
}

/**
 * Measures two sides in alternation. The side that goes first changes from round to round, so that neither side always
 * runs right after the other.
 * @param onRound called with the number of rounds that are finished
 */
export async function alternate(
  rounds: number,
  a: () => Promise<number>,
  b: () => Promise<number>,
  onRound: (round: number) => void = () => {},
): Promise<Rounds> {
  const measured: { a: number; b: number }[] = []
  for (let round = 0; round < rounds; round++) {
    if (round % 2 === 0) measured.push({ a: await a(), b: await b() })
    else {
      const second = await b()
      measured.push({ a: await a(), b: second })
    }
    onRound(round + 1)
  }
  return {
    a: measured.map((each) => each.a),
    b: measured.map((each) => each.b),
    ratios: measured.map((each) => each.a / each.b),
  }
}

/** @returns undefined if the figure has no target */
export const isMet = ({ value, target }: Pick<Figure, 'value' | 'target'>): boolean | undefined =>
  target && ('atMost' in target ? value <= target.atMost : value >= target.atLeast)
