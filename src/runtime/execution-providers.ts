// Where learning can run, by name, apart from all that runs there: the command line names them before it loads any of it.

/** On `cuda` what it has no kernels for is computed on the CPU. */
export const learningProviders = ['cpu', 'cuda'] as const
export type LearningProvider = (typeof learningProviders)[number]

/** What learning runs on. */
export interface Compute {
  /** The CPU, unless given. */
  readonly provider?: LearningProvider | undefined
  /** Intra-operator threads of the CPU; 0 leaves the choice to onnxruntime. */
  readonly threads: number
}
