// The execution providers by name. Nothing here loads onnxruntime, so the command line can list them cheaply.

import type { numerics } from '../settings.js'

export const providers = ['cpu', 'webgpu', 'cuda'] as const
export type Provider = (typeof providers)[number]

/**
 * How a session computes. `float32`: single precision. `float16`: half precision, except for statistics, pooling and sums.
 * `int8`: single precision with dense layers of eight-bit integers, which are summed in 32 bits.
 */
export type Numerics = (typeof numerics)[number]

/** The providers that training supports. With `cuda`, operators without a CUDA kernel run on the CPU. */
export const learningProviders = ['cpu', 'cuda'] as const
export type LearningProvider = (typeof learningProviders)[number]

/** Where training runs. */
export interface Compute {
  /** Default: the CPU. */
  readonly provider?: LearningProvider | undefined
  /** Intra-operator threads of the CPU; 0 leaves the choice to onnxruntime. */
  readonly threads: number
}
