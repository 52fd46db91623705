// What the server knows about an execution provider of onnxruntime. Each file of this folder says it of one provider. The
// files do not load onnxruntime, so that the command line can list the providers cheaply.

import type { ProviderTraits } from '../numerics/number-format.js'
import type { Numerics } from '../numerics.js'

export interface ExecutionProvider {
  /** Its name in a sentence: "runs on CUDA only". */
  readonly label: string
  /**
   * Whether it computes on a device. A device runs one batch at a time, must have every operator of the graph, and can be
   * lost. Without a device, several engines may share the CPU.
   */
  readonly isDevice: boolean
  /** Whether only one thread of the process may use it at a time. Sessions then hold the device lock. */
  readonly isExclusive: boolean
  /** Whether `auto` chooses it only if it computes a batch faster than the CPU. */
  readonly mustBeatCpu: boolean
  /** What it needs, in sentences for the error if it does not load. */
  readonly needs?: string
  /** Why it cannot load on this machine, as far as one can tell without loading it. */
  readonly missing: () => string | undefined
  readonly numerics: readonly Numerics[]
  readonly graph: ProviderTraits
  /**
   * Where the graph reads the bank. `whole`: in the memory of the host, in place. `used`: there, but inputs are copied to the
   * device in every run, so only the slots of the batch are fed. `device`: in the memory of the device.
   */
  readonly bank: 'whole' | 'used' | 'device'
  /** Intra-operator threads on the host, if not those of the settings. */
  readonly hostThreads?: number
  /** For providers that support training. */
  readonly training?: {
    /** Most tokens of one run of a training graph. More would take more memory and not be faster. */
    readonly maxRunTokens: number
  }
}
