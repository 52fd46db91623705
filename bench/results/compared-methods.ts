// The columns of the results tables: which methods there are, and the settings that each learns with.

import { headOnlyDefaults } from '../../src/learn/baseline.js'
import type { Rates } from '../../src/learn/trainer.js'
import { methodDefaults, weightRates } from '../../src/learn/training-methods.js'
import type { ModuleConfig } from '../../src/petl/kinds.js'
import type { Combining, Pooling } from '../../src/petl/task.js'

const adapterMethods = ['head', 'plain', 'single', 'multi', 'mask-one', 'mask-layer'] as const
const otherMethods = ['lora-plain', 'lora-single', 'prefix-plain', 'prefix-single'] as const
export const comparedMethods = [...adapterMethods, ...otherMethods] as const
export type ComparedMethod = (typeof comparedMethods)[number]

export const titles: Readonly<Record<ComparedMethod, string>> = {
  head: 'head only',
  plain: 'plain adapter',
  single: 'single-task PROPETL',
  multi: 'multi-task PROPETL (OR)',
  'mask-one': 'mask on the frozen prototype, one row',
  'mask-layer': 'mask on the frozen prototype, one row a layer',
  'lora-plain': 'plain LoRA',
  'lora-single': 'single-task PROPETL, LoRA',
  'prefix-plain': 'plain prefix',
  'prefix-single': 'single-task PROPETL, prefix',
}

/** The tables of the page. A table's rows are the tasks that one of its `own` methods has runs on. */
export const tables: readonly {
  readonly title: string
  readonly methods: readonly ComparedMethod[]
  readonly own: readonly ComparedMethod[]
}[] = [
  { title: 'Adapters', methods: adapterMethods, own: adapterMethods },
  { title: 'LoRA and prefix beside the adapter', methods: ['plain', 'single', ...otherMethods], own: otherMethods },
]

const adapter = { kind: 'adapter', bottleneck: 32, activation: 'relu', scaling: 1 } as const
/** Shared by all tasks, a module of twice the size is still a small part of what plain adapters take. */
const sharedAdapter = { ...adapter, bottleneck: 64 } as const
const lora = { kind: 'lora', rank: 16, alpha: 24 } as const
const prefix = { kind: 'prefix', length: 32 } as const

/** Methods that learn a module: which one, and how. */
export const moduleMethods = {
  plain: { module: adapter, learning: 'plain' },
  single: { module: adapter, learning: 'single' },
  multi: { module: sharedAdapter, learning: 'multi' },
  'lora-plain': { module: lora, learning: 'plain' },
  'lora-single': { module: lora, learning: 'single' },
  'prefix-plain': { module: prefix, learning: 'plain' },
  'prefix-single': { module: prefix, learning: 'single' },
} as const
type ModuleMethod = keyof typeof moduleMethods

const isModuleMethod = (method: ComparedMethod): method is ModuleMethod => method in moduleMethods

/** The same module with weights of its own in every layer: what a method is held against. */
export function plainCounterpart(method: ComparedMethod): ComparedMethod {
  const { module } = moduleMethods[isModuleMethod(method) ? method : 'plain']
  return ({ adapter: 'plain', lora: 'lora-plain', prefix: 'prefix-plain' } as const)[module.kind]
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
  readonly method: ModuleMethod
  readonly module: ModuleConfig
  readonly density: number
  readonly rates: Rates
  /** Of `multi`: epochs that each task goes on alone, after those that all learn together. */
  readonly finishEpochs?: number
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

/** Tasks learn together for the first half of the epochs, and alone for the second. */
function halves(epochs: number | undefined): Pick<ModuleSettings, 'epochs' | 'finishEpochs'> {
  if (epochs === undefined) return { finishEpochs: epochsAlone }
  const finishEpochs = Math.floor(epochs / 2)
  return { epochs: epochs - finishEpochs, finishEpochs }
}

/** Tokens that longer texts are cut to. */
export const maxLength = 128
const weightDecay = 0.1
const density = 0.5
const epochsAlone = 3

export function settingsOf(
  method: ComparedMethod,
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
      return { method, ...common, ...headOnlyDefaults }
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
    default: {
      const { module, learning } = moduleMethods[method]
      const { density, scoreRate } = methodDefaults[learning]
      const rates = { weights: weightRates[module.kind], scores: scoreRate, heads: 0.005 }
      const settings = { method, ...common, module, density, rates }
      return method === 'multi' ? { ...settings, ...halves(epochs) } : settings
    }
  }
}
