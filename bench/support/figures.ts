// What a benchmark yields, and how it is told: a table for people, JSON for programs.

export interface Figure {
  readonly what: string
  readonly unit: string
  /** Median over the repeats, or the percentile that `what` names. */
  readonly value: number
  /** Smallest and largest repeat. */
  readonly spread: readonly [number, number]
  readonly repeats: number
  /** What the figure must be; absent where it is there to compare with. */
  readonly target?: { readonly atMost: number } | { readonly atLeast: number }
  /** Absolute figures behind a ratio, and whatever else helps to read it. */
  readonly notes?: Readonly<Record<string, number | string>>
}

export type Benchmark = (say: (progress: string) => void) => Promise<readonly Figure[]>

const sorted = (values: readonly number[]) => values.toSorted((a, b) => a - b)

/** The value below which a share of the values lies. */
export function quantile(values: readonly number[], share: number): number {
  const ascending = sorted(values)
  const value = ascending[Math.min(ascending.length - 1, Math.floor(share * ascending.length))]
  if (value === undefined) throw new Error('no values were measured')
  return value
}

export const median = (values: readonly number[]): number => quantile(values, 0.5)

/** One value of something that is watched over time. */
export interface Sample {
  readonly at: number
  readonly value: number
}

/**
 * How fast values rise, robustly: the median slope over all pairs of samples (Theil 1950, Sen 1968), and the slopes
 * between which it lies with 95 % confidence (Sen's interval from the variance of Kendall's S).
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

/** Value, spread and number of repeats of a figure. */
export const summary = (values: readonly number[]) => ({
  value: median(values),
  spread: [Math.min(...values), Math.max(...values)] as const,
  repeats: values.length,
})

/** Two sides measured in turns, and the ratio of each turn: a / b. */
export interface Turns {
  readonly a: readonly number[]
  readonly b: readonly number[]
  readonly ratios: readonly number[]
}

/**
 * Measures two sides in turns. Which goes first changes, so that neither always runs in the other's wake.
 * @param done told after each turn
 */
export async function inTurns(
  turns: number,
  a: () => Promise<number>,
  b: () => Promise<number>,
  done: (turn: number) => void = () => {},
): Promise<Turns> {
  const found: { a: number; b: number }[] = []
  for (let turn = 0; turn < turns; turn++) {
    if (turn % 2 === 0) found.push({ a: await a(), b: await b() })
    else {
      const second = await b()
      found.push({ a: await a(), b: second })
    }
    done(turn + 1)
  }
  return {
    a: found.map((each) => each.a),
    b: found.map((each) => each.b),
    ratios: found.map((each) => each.a / each.b),
  }
}

/** Undefined where there is no target. */
export const isMet = ({ value, target }: Figure): boolean | undefined =>
  target && ('atMost' in target ? value <= target.atMost : value >= target.atLeast)

const digits = (value: number) => (Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3))

/** Rows of a Markdown table. */
export function tableRow(figure: Figure): string {
  const { what, unit, value, spread, repeats, target, notes } = figure
  const goal = target ? `${'atMost' in target ? `≤ ${target.atMost}` : `≥ ${target.atLeast}`} ${unit}` : unit
  const met = isMet(figure)
  const extra = Object.entries(notes ?? {}).map(
    ([name, note]) => `${name} ${typeof note === 'number' ? digits(note) : note}`,
  )
  const measured = `${digits(value)} (${digits(spread[0])} to ${digits(spread[1])}, ${repeats}×)`
  return `| ${what} | ${goal} | ${measured} | ${met === undefined ? '' : met ? 'yes' : 'no'} | ${extra.join('; ')} |`
}

export const tableHead =
  '| What | Target | Measured: median (spread, repeats) | Met | Beside it |\n|---|---|---|---|---|'
