// Where learning can run, by name, apart from all that runs there: the command line names them before it loads any of it.

/** On `cuda` what it has no kernels for is computed on the CPU. */
export const learningProviders = ['cpu', 'cuda'] as const
export type LearningProvider = (typeof learningProviders)[number]
