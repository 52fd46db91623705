// The cost model: a batch takes fixed + per token · tokens milliseconds. The parameters are measured with warm-up batches
// and corrected by the batches that are served. The same measurements say how large a batch should be.

import type { BatchTiming } from '../runtime/warm-up.js'
import type { BatchLimits } from './batch.js'

/** Share of the best measured throughput that is given up for shorter batches, and so for lower latency. */
const throughputLoss = 0.1
/** Weight of the newest batch in the moving average of the pace. */
const newestWeight = 0.1
/** A single batch changes the pace as if it were at most this factor faster or slower: it may be an outlier. */
const maxOutlier = 4

/**
 * Tokens of the smallest batch that has about the best throughput. In a larger one rows would only wait longer for each
 * other. Between two measured sizes, throughput is interpolated by the logarithm of the size: the sizes double, and without
 * interpolation a small difference in a measurement would double the result.
 * @param timings at least one, by ascending size
 */
export function efficientTokens(timings: readonly BatchTiming[]): number {
  const rate = ({ tokens, ms }: BatchTiming) => tokens / ms
  const enough = (1 - throughputLoss) * Math.max(...timings.map(rate))
  const at = timings.findIndex((timing) => rate(timing) >= enough)
  const [below, above] = [timings[at - 1], timings[at] as BatchTiming]
  if (below === undefined) return above.tokens
  const share = (enough - rate(below)) / (rate(above) - rate(below))
  return Math.round(below.tokens * (above.tokens / below.tokens) ** share)
}

/** A batch of several tasks may have this many times the tokens of a batch of one task. */
const maxTasksFactor = 8

/**
 * The token limits of a batch.
 * @param given the max-batch-tokens setting. With `auto`, the rows of one task fill the smallest batch with about the best
 *   throughput. A batch of several tasks may be larger, which gains a little more.
 */
export function batchTokens(
  given: number | 'auto',
  timings: readonly BatchTiming[],
): Pick<BatchLimits, 'maxTokens' | 'taskTokens'> {
  if (given !== 'auto') return { maxTokens: given }
  const taskTokens = efficientTokens(timings)
  return { maxTokens: maxTasksFactor * taskTokens, taskTokens }
}

export class CostModel {
  readonly fixedMs: number
  readonly tokenMs: number
  #pace = 1

  /** @param timings at least one; two or more sizes are fitted by least squares, with neither parameter negative */
  constructor(timings: readonly BatchTiming[]) {
    const mean = (value: (timing: BatchTiming) => number) =>
      timings.reduce((sum, timing) => sum + value(timing), 0) / timings.length
    const tokens = mean((timing) => timing.tokens)
    const ms = mean((timing) => timing.ms)
    const variance = mean((timing) => (timing.tokens - tokens) ** 2)
    const slope = variance > 0 ? mean((timing) => (timing.tokens - tokens) * (timing.ms - ms)) / variance : ms / tokens
    this.tokenMs = Math.min(Math.max(slope, ms / tokens / 100), ms / tokens)
    this.fixedMs = ms - this.tokenMs * tokens
  }

  /** Tokens that are computed in the time that it takes to start a batch: a few on a CPU, thousands on a GPU. */
  get tokensPerStart(): number {
    return Math.floor(this.fixedMs / this.tokenMs)
  }

  /** Milliseconds that a batch takes at the current pace. */
  batchMs(tokens: number): number {
    return this.#pace * (this.fixedMs + this.tokenMs * tokens)
  }

  /** Tokens of the largest batch that takes at most this time at the current pace; 0 if every batch takes longer. */
  tokensWithin(ms: number): number {
    return Math.max(0, Math.floor((ms / this.#pace - this.fixedMs) / this.tokenMs))
  }

  /** Updates the pace, an exponential moving average, with a batch that was served. The speed of a machine varies. */
  observe({ tokens, ms }: BatchTiming): void {
    const ratio = ms / (this.fixedMs + this.tokenMs * tokens)
    const bounded = Math.min(Math.max(ratio, this.#pace / maxOutlier), this.#pace * maxOutlier)
    this.#pace += newestWeight * (bounded - this.#pace)
  }
}
