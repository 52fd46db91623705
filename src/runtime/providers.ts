// The table of execution providers, by onnxruntime's names. Nothing else compares these names: what is special about a
// provider is a field of its row.

import { cpu } from './providers/cpu.js'
import { cuda } from './providers/cuda.js'
import type { ExecutionProvider } from './providers/provider.js'
import { webgpu } from './providers/webgpu.js'

/** In the order in which `auto` tries them. The last one always loads. */
const rows = { cuda, webgpu, cpu }

export type Provider = keyof typeof rows
export const providers: Readonly<Record<Provider, ExecutionProvider>> = rows
export const providerNames = Object.keys(rows) as readonly Provider[]
export const deviceNames = providerNames.filter((name) => providers[name].isDevice)
/** The provider that every machine has. */
export const hostProvider = 'cpu' satisfies Provider

/** The providers that support training. */
export type LearningProvider = {
  [P in Provider]: (typeof rows)[P] extends Required<Pick<ExecutionProvider, 'training'>> ? P : never
}[Provider]
export const learningProviders = providerNames.filter(
  (name): name is LearningProvider => providers[name].training !== undefined,
)

/** Where training runs. */
export interface Compute {
  /** Default: the CPU. */
  readonly provider?: LearningProvider | undefined
  /** Intra-operator threads of the CPU; 0 leaves the choice to onnxruntime. */
  readonly threads: number
}

/** Most tokens of one run of a training graph. */
export const maxRunTokens = ({ provider = hostProvider }: Pick<Compute, 'provider'> = {}): number =>
  rows[provider].training.maxRunTokens
