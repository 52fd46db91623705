// L-BFGS: minimises a smooth function of many variables from its values and gradients (Nocedal and Wright 2006,
// algorithm 7.5), with step lengths by backtracking.

/** A value, and the gradient at the same point. */
export interface Slope {
  readonly value: number
  readonly gradient: Float64Array
}

export interface MinimiseOptions {
  /** Updates of the point, at most. */
  readonly iterations?: number
  /** It stops where no component of the gradient is larger. */
  readonly tolerance?: number
  /** If aborted, its reason is thrown before the next evaluation of the function. */
  readonly signal?: AbortSignal | undefined
}

export interface Minimum extends Slope {
  readonly point: Float64Array
  readonly iterations: number
}

/** Pairs of steps and changes of the gradient that approximate the curvature. */
const memory = 10

/** A step has to gain this part of what the slope promises (Armijo's condition). */
const sufficient = 1e-4
const mostHalvings = 30

/**
 * @param slope the function; it is called about once for each iteration
 * @param start is left as it is
 */
export async function minimise(
  slope: (point: Float64Array) => Promise<Slope>,
  start: Float64Array,
  { iterations = 200, tolerance = 1e-4, signal }: MinimiseOptions = {},
): Promise<Minimum> {
  let point: Float64Array = start.slice()
  let here = await slope(point)
  const pairs: Pair[] = []
  for (let iteration = 0; iteration < iterations; iteration++) {
    if (largest(here.gradient) <= tolerance) return { ...here, point, iterations: iteration }
    const direction = quasiNewton(here.gradient, pairs)
    const descent = dot(direction, here.gradient)
    // Without curvature the first step is short.
    let length = pairs.length === 0 ? Math.min(1, 1 / Math.sqrt(-descent)) : 1
    let next: { readonly point: Float64Array; readonly slope: Slope } | undefined
    for (let halving = 0; halving < mostHalvings && next === undefined; halving++, length /= 2) {
      signal?.throwIfAborted()
      const candidate = point.map((value, i) => value + length * (direction[i] ?? 0))
      const found = await slope(candidate)
      if (found.value <= here.value + sufficient * length * descent) next = { point: candidate, slope: found }
    }
    // The value no longer falls by more than its rounding.
    if (next === undefined) return { ...here, point, iterations: iteration }
    remember(pairs, difference(next.point, point), difference(next.slope.gradient, here.gradient))
    point = next.point
    here = next.slope
  }
  return { ...here, point, iterations }
}

interface Pair {
  readonly step: Float64Array
  readonly change: Float64Array
  /** step · change */
  readonly curvature: number
}

/** Keeps a pair if the function curves upwards along it. */
function remember(pairs: Pair[], step: Float64Array, change: Float64Array): void {
  const curvature = dot(step, change)
  if (curvature <= 1e-10 * dot(change, change)) return
  pairs.push({ step, change, curvature })
  if (pairs.length > memory) pairs.shift()
}

/** Minus the product of the gradient and the approximate inverse Hessian (the two-loop recursion). */
function quasiNewton(gradient: Float64Array, pairs: readonly Pair[]): Float64Array {
  const direction = gradient.map((value) => -value)
  const shares = pairs.map(() => 0)
  for (let i = pairs.length - 1; i >= 0; i--) {
    const pair = pairs[i]
    if (pair === undefined) continue
    const share = dot(pair.step, direction) / pair.curvature
    shares[i] = share
    addTo(direction, pair.change, -share)
  }
  const newest = pairs.at(-1)
  if (newest) {
    const scale = newest.curvature / dot(newest.change, newest.change)
    for (let i = 0; i < direction.length; i++) direction[i] = scale * (direction[i] ?? 0)
  }
  for (const [i, pair] of pairs.entries())
    addTo(direction, pair.step, (shares[i] ?? 0) - dot(pair.change, direction) / pair.curvature)
  return direction
}

const difference = (a: Float64Array, b: Float64Array): Float64Array => a.map((value, i) => value - (b[i] ?? 0))

const largest = (values: Float64Array): number => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0)

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += (a[i] ?? 0) * (b[i] ?? 0)
  return sum
}

function addTo(sum: Float64Array, values: Float64Array, factor: number): void {
  for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] ?? 0) + factor * (values[i] ?? 0)
}
