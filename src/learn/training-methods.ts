// The names and defaults of the training methods. They are apart from the code of the methods, because the command line
// needs them before it loads that code.

/**
 * `multi`: one prototype with a mask per layer and a mask per task, combined. `single`: one prototype with a mask per
 * layer, for one task. `plain`: separate weights in every layer, for one task. `head`: no module, for one task.
 */
export const trainingMethods = ['multi', 'single', 'plain', 'head'] as const
export type TrainingMethod = (typeof trainingMethods)[number]

/**
 * The best settings found for each method. `deviation` is the standard deviation of initial weights. It is larger for
 * `multi`, so that it matters which weights a task's mask keeps. Two combined masks of density 0.3 keep about half.
 */
export const methodDefaults: Readonly<
  Record<TrainingMethod, { readonly density: number; readonly scoreRate: number; readonly deviation: number }>
> = {
  multi: { density: 0.3, scoreRate: 0.03, deviation: 0.1 },
  single: { density: 0.5, scoreRate: 0.01, deviation: 0.05 },
  plain: { density: 1, scoreRate: 0, deviation: 0.05 },
  head: { density: 1, scoreRate: 0, deviation: 0 },
}
