// The methods of learning by name, apart from what they do: the command line names them before it loads any of it.

import type { ModuleKind } from '../petl/kinds.js'

/**
 * `multi`: one prototype, a mask a layer and a mask a task, combined. `single`: one prototype and a mask a layer, for
 * one task. `plain`: weights of its own in every layer, for one task. `head`: no module at all, for one task.
 */
export const trainingMethods = ['multi', 'single', 'plain', 'head'] as const
export type TrainingMethod = (typeof trainingMethods)[number]

/**
 * What learns best by each method, as far as was found. `deviation` is the standard deviation of fresh weights: those
 * that several tasks choose from are large enough that the choice makes a difference. Two masks of 0.3 united keep half.
 */
export const methodDefaults: Readonly<
  Record<TrainingMethod, { readonly density: number; readonly scoreRate: number; readonly deviation: number }>
> = {
  multi: { density: 0.3, scoreRate: 0.03, deviation: 0.1 },
  single: { density: 0.5, scoreRate: 0.01, deviation: 0.05 },
  plain: { density: 1, scoreRate: 0, deviation: 0.05 },
  head: { density: 1, scoreRate: 0, deviation: 0 },
}

/** Learning rates of weights that suit each kind of module. */
export const weightRates: Readonly<Record<ModuleKind, number>> = { adapter: 0.003, lora: 0.003, prefix: 0.01 }
