// The columns of the results table: which methods there are, and the settings that each learns with.

import type { Combining, Pooling } from '../../src/formats/task-file.js'
import { headLearning } from '../../src/learn/baseline.js'
import type { Rates } from '../../src/learn/learner.js'

export const methods = ['head', 'plain', 'single', 'multi', 'mask-one', 'mask-layer'] as const
export type Method = (typeof methods)[number]

export const titles: Readonly<Record<Method, string>> = {
  head: 'head only',
  plain: 'plain adapter',
  single: 'single-task PROPETL',
  multi: 'multi-task PROPETL (OR)',
  'mask-one': 'mask on the frozen prototype, one row',
  'mask-layer': 'mask on the frozen prototype, one row a layer',
}

/** What a run of any method is told. */
interface CommonSettings {
  /** The start of the SHA-256 of the backbone. */
  readonly backbone: string
  /** Rows of a task to learn from at most. */
  readonly maxRows: number
  readonly maxLength: number
  readonly batchRows: number
  /** Without it as often as learning takes by itself. */
  readonly epochs?: number
  readonly pooling: Pooling
  readonly weightDecay: number
}

export interface HeadSettings extends CommonSettings {
  readonly method: 'head'
  readonly epochs: number
  readonly headRate: number
}

export interface ModuleSettings extends CommonSettings {
  readonly method: 'plain' | 'single' | 'multi'
  readonly bottleneck: number
  readonly density: number
  readonly rates: Rates
}

export interface MaskSettings extends CommonSettings {
  readonly method: 'mask-one' | 'mask-layer'
  /** The start of the SHA-256 of the prototype. */
  readonly prototype: string
  /** Tasks that the prototype was learned on. */
  readonly learnedOn: readonly string[]
  readonly combine: Combining
  readonly density: number
  readonly rates: Omit<Rates, 'weights'>
}

export type Settings = HeadSettings | ModuleSettings | MaskSettings

/** What may differ between two calls of the runner. */
export interface Choices {
  readonly backbone: string
  readonly prototype: string
  readonly learnedOn: readonly string[]
  readonly maxRows: number
  readonly epochs?: number
  /** How a mask of one row meets the prototype's layer masks. */
  readonly combine: Combining
}

/** Tokens that longer texts are cut to. */
export const maxLength = 128
const weightDecay = 0.1
const density = 0.5

export function settingsOf(
  method: Method,
  { backbone, prototype, learnedOn, maxRows, epochs, combine }: Choices,
): Settings {
  const common = {
    backbone,
    maxRows,
    maxLength,
    batchRows: 32,
    ...(epochs !== undefined && { epochs }),
    pooling: 'mean',
    weightDecay,
  } as const
  switch (method) {
    case 'head':
      // Its rows are computed once: all the epochs that it takes cost next to nothing.
      return { method, ...common, ...headLearning }
    case 'plain':
      return { method, ...common, bottleneck: 32, density, rates: { weights: 0.003, scores: 0, heads: 0.005 } }
    case 'single':
    case 'multi':
      return { method, ...common, bottleneck: 32, density, rates: { weights: 0.003, scores: 0.03, heads: 0.005 } }
    case 'mask-one':
      return { method, ...common, prototype, learnedOn, combine, density, rates: { scores: 0.05, heads: 0.005 } }
    case 'mask-layer':
      return {
        method,
        ...common,
        prototype,
        learnedOn,
        combine: 'none',
        density,
        rates: { scores: 0.05, heads: 0.005 },
      }
  }
}
