// What a batch costs: milliseconds = fixed + per token · tokens, measured on the batches that warmed the engine up, and
// kept true by those that it serves. From the same measurements: how large a batch should be.

import type { BatchTiming } from '../runtime/warm-up.js'
import type { BatchLimits } from './batch.js'

/** Share of the best measured throughput that a batch may lose, so that its rows are answered sooner. */
const throughputLoss = 0.1
/** Share of the newest batch in the pace. */
const newest = 0.1
/** One batch that was held up, or one that the clock missed, says no more than this of the pace. */
const outlier = 4

/**
 * Tokens of the smallest batch that has about the best throughput. A larger one would only make rows wait longer for
 * each other. Between two sizes that were measured throughput is taken to rise with the logarithm of the size: the answer
 * then moves a little with what was measured, where the next size would be twice as large.
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

/** Tasks that share a batch may make it so many times as long as one that has a single task's rows. */
const tasksTogether = 8

/**
 * How long batches may be.
 * @param given a number, or `auto`: a task's rows fill the smallest batch that has about the best throughput, and those of
 *   several tasks a larger one, which gains a little more
 */
export function batchTokens(
  given: number | 'auto',
  timings: readonly BatchTiming[],
): Pick<BatchLimits, 'maxTokens' | 'taskTokens'> {
  if (given !== 'auto') return { maxTokens: given }
  const taskTokens = efficientTokens(timings)
  return { maxTokens: tasksTogether * taskTokens, taskTokens }
}

export class CostModel {
  readonly fixedMs: number
  readonly tokenMs: number
  #pace = 1

  /** @param timings one at least; of two or more sizes the line of least squares is taken, and neither part is negative */
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

  /** Milliseconds that a batch takes, as the engine runs now. */
  batchMs(tokens: number): number {
    return this.#pace * (this.fixedMs + this.tokenMs * tokens)
  }

  /** Tokens of the largest batch that takes at most so many milliseconds, as the engine runs now; none if a batch takes longer. */
  tokensWithin(ms: number): number {
    return Math.max(0, Math.floor((ms / this.#pace - this.fixedMs) / this.tokenMs))
  }

  /** A batch was served: an exponential moving average of the pace, for the machine's own is not always the same. */
  observe({ tokens, ms }: BatchTiming): void {
    const ratio = ms / (this.fixedMs + this.tokenMs * tokens)
    const bounded = Math.min(Math.max(ratio, this.#pace / outlier), this.#pace * outlier)
    this.#pace += newest * (bounded - this.#pace)
  }
}
