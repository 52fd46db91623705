// AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101, algorithm 2) and the paper's schedule of learning rates.

interface Moments {
  readonly first: Float32Array
  readonly second: Float32Array
  updates: number
}

export interface AdamWOptions {
  /** Each update shrinks a value by this share times the learning rate. The decay is not part of the gradient. */
  readonly weightDecay: number
  readonly beta1?: number
  readonly beta2?: number
  readonly epsilon?: number
}

export class AdamW {
  readonly #moments = new Map<Float32Array, Moments>()

  constructor(readonly options: AdamWOptions) {}

  /**
   * Updates values in place. Each array counts its own updates, because a step updates the tensors of one task only.
   * @param decay whether weight decay applies; it does not apply to biases
   */
  update(values: Float32Array, gradient: Float32Array, rate: number, decay: boolean): void {
    const { weightDecay, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8 } = this.options
    const { first, second, updates } = this.#next(values)
    const shrink = decay ? 1 - rate * weightDecay : 1
    const correction1 = 1 - beta1 ** updates
    const correction2 = 1 - beta2 ** updates
    for (let i = 0; i < values.length; i++) {
      const slope = gradient[i] ?? 0
      const mean = beta1 * (first[i] ?? 0) + (1 - beta1) * slope
      const square = beta2 * (second[i] ?? 0) + (1 - beta2) * slope * slope
      first[i] = mean
      second[i] = square
      const change = mean / correction1 / (Math.sqrt(square / correction2) + epsilon)
      values[i] = shrink * (values[i] ?? 0) - rate * change
    }
  }

  #next(values: Float32Array): Moments {
    let moments = this.#moments.get(values)
    if (moments === undefined) {
      moments = { first: new Float32Array(values.length), second: new Float32Array(values.length), updates: 0 }
      this.#moments.set(values, moments)
    }
    moments.updates++
    return moments
  }
}

/**
 * The share of the learning rate that a step uses. It rises linearly over the first `warmup` share of the steps, then
 * falls linearly and would reach 0 one step after the last.
 * @param step from 0
 */
export function rateShare(step: number, steps: number, warmup = 0.1): number {
  const rising = Math.floor(warmup * steps)
  return step < rising ? step / rising : (steps - step) / (steps - rising)
}
