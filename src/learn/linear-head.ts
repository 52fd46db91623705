// A linear head fitted to vectors that are computed once: logistic regression, or ridge regression for numbers. The
// objective is convex, so the result depends only on the examples and the penalty.

import { GraphSession } from '../runtime/graph-session.js'
import { targetInputs } from './batches.js'
import { minimise } from './lbfgs.js'
import type { Loss } from './losses.js'
import { headGraph } from './training-graph.js'

/** What a head is fitted to, or evaluated on: N texts or words. */
export interface LabelledVectors {
  /** [N, H] */
  readonly vectors: Float32Array
  /** As the loss takes them, [N, C]. */
  readonly targets: Float32Array
  /** 1 for a vector that counts, 0 for a word without a token, [N]. */
  readonly counted: Float32Array
}

export interface LinearHead {
  /** [C, H] */
  readonly weight: Float32Array
  /** [C] */
  readonly bias: Float32Array
}

/** Fits and evaluates heads of one size under one loss. */
export class LinearHeads {
  private constructor(
    readonly hiddenSize: number,
    readonly outputs: number,
    readonly loss: Loss,
    readonly session: GraphSession,
  ) {}

  static async open(hiddenSize: number, outputs: number, loss: Loss, threads: number): Promise<LinearHeads> {
    const session = await GraphSession.open(headGraph(hiddenSize, 'linear', loss), { threads })
    return new LinearHeads(hiddenSize, outputs, loss, session)
  }

  release(): Promise<void> {
    return this.session.release()
  }

  /**
   * Minimises the mean loss plus `penalty`/2 times the sum of squared weights. Biases are not penalised. The penalty
   * applies to vectors that are centred and scaled to a mean square of 1, so one penalty suits every backbone.
   * @param start a head to start from, such as that of a neighbouring penalty
   * @throws the reason of the signal, if it is aborted
   */
  async fit(data: LabelledVectors, penalty: number, start?: LinearHead, signal?: AbortSignal): Promise<LinearHead> {
    const { hiddenSize: H, outputs: C } = this
    const scaling = scalingOf(data.vectors, H)
    const inputs = this.#inputs({ ...data, vectors: scaled(data.vectors, scaling) })
    // The mean over labels makes a loss of many labels small; the penalty shrinks with it.
    const decay = penalty * this.loss.weight(1, C)
    const slope = async (point: Float64Array) => {
      const results = await this.session.run({ ...inputs, ...this.#head(point) })
      const gradient = new Float64Array(point.length)
      gradient.set(results.get('head.weight.grad') ?? [])
      gradient.set(results.get('head.bias.grad') ?? [], C * H)
      let value = results.get('loss')?.[0] ?? Number.NaN
      for (let i = 0; i < C * H; i++) {
        const weight = point[i] ?? 0
        value += (decay / 2) * weight * weight
        gradient[i] = (gradient[i] ?? 0) + decay * weight
      }
      return { value, gradient }
    }
    const { point } = await minimise(slope, start ? scaledHead(start, scaling) : this.#constant(data), {
      iterations: mostIterations(data.counted.length, H, C),
      tolerance: 1e-3 * this.loss.weight(1, C),
      signal,
    })
    return unscaledHead(point, scaling, C)
  }

  /** The mean loss of a head, and its outputs [N, C]. */
  async evaluate(head: LinearHead, data: LabelledVectors): Promise<{ loss: number; logits: Float32Array }> {
    const point = Float64Array.from([...head.weight, ...head.bias])
    const results = await this.session.run({ ...this.#inputs(data), ...this.#head(point) })
    return { loss: results.get('loss')?.[0] ?? Number.NaN, logits: results.get('logits') ?? new Float32Array() }
  }

  /** Where a fit starts: no weights, and the best biases without weights. They would need many steps otherwise. */
  #constant({ targets, counted }: LabelledVectors): Float64Array {
    const { hiddenSize: H, outputs: C } = this
    const sums = new Float64Array(C)
    for (const [at, target] of targets.entries())
      sums[at % C] = (sums[at % C] ?? 0) + target * (counted[Math.floor(at / C)] ?? 0)
    const all = countOf(counted)
    const point = new Float64Array(C * H + C)
    point.set(
      sums.map((sum) => this.loss.constant(sum / all)),
      C * H,
    )
    return point
  }

  #inputs({ vectors, targets, counted }: LabelledVectors) {
    const share = this.loss.weight(countOf(counted), this.outputs)
    return {
      vectors: { shape: [vectors.length / this.hiddenSize, this.hiddenSize], data: vectors },
      ...targetInputs(
        targets,
        counted.map((one) => one * share),
      ),
    }
  }

  #head(point: Float64Array) {
    const { hiddenSize: H, outputs: C } = this
    return {
      'head.weight': { shape: [C, H], data: new Float32Array(point.subarray(0, C * H)) },
      'head.bias': { shape: [C], data: new Float32Array(point.subarray(C * H)) },
    }
  }
}

/** What the vectors count in all; 1 if none counts, so that a mean is finite. */
const countOf = (counted: Float32Array): number =>
  Math.max(
    1,
    counted.reduce((sum, one) => sum + one, 0),
  )

/** Most updates of a fit. With thousands of labels they are few, because each costs about (N + 500)·H·C. */
const mostIterations = (N: number, H: number, C: number): number =>
  Math.min(200, Math.max(10, Math.round(1e10 / ((N + 500) * H * C))))

/** The shift and the factor under which vectors have a mean of 0 and a mean square of 1. */
export interface Scaling {
  readonly mean: Float64Array
  readonly factor: number
}

export function scalingOf(vectors: Float32Array, H: number): Scaling {
  const mean = new Float64Array(H)
  for (let i = 0; i < vectors.length; i++) mean[i % H] = (mean[i % H] ?? 0) + (vectors[i] ?? 0)
  for (let column = 0; column < H; column++) mean[column] = ((mean[column] ?? 0) * H) / vectors.length
  let squares = 0
  for (let i = 0; i < vectors.length; i++) squares += ((vectors[i] ?? 0) - (mean[i % H] ?? 0)) ** 2
  return { mean, factor: squares === 0 ? 1 : Math.sqrt(vectors.length / squares) }
}

const scaled = (vectors: Float32Array, { mean, factor }: Scaling): Float32Array =>
  vectors.map((value, i) => (value - (mean[i % mean.length] ?? 0)) * factor)

/** A head of scaled vectors as one of the vectors themselves. */
function unscaledHead(point: Float64Array, { mean, factor }: Scaling, outputs: number): LinearHead {
  const H = mean.length
  const weight = Float32Array.from(point.subarray(0, outputs * H), (value) => value * factor)
  const bias = Float32Array.from(point.subarray(outputs * H), (value, output) => value - dotRow(weight, output, mean))
  return { weight, bias }
}

function scaledHead({ weight, bias }: LinearHead, { mean, factor }: Scaling): Float64Array {
  const point = new Float64Array(weight.length + bias.length)
  for (let i = 0; i < weight.length; i++) point[i] = (weight[i] ?? 0) / factor
  for (const [output, value] of bias.entries()) point[weight.length + output] = value + dotRow(weight, output, mean)
  return point
}

function dotRow(weight: Float32Array, row: number, vector: Float64Array): number {
  let sum = 0
  for (let i = 0; i < vector.length; i++) sum += (weight[row * vector.length + i] ?? 0) * (vector[i] ?? 0)
  return sum
}
