// The columns of the results tables: the compared methods, and the settings that each is trained with.

import type { Rates } from '../../src/learn/trainer.js'
import { methodDefaults } from '../../src/learn/training-methods.js'
import { type ModuleConfig, petlKinds } from '../../src/petl/kinds.js'
import type { Combining, Pooling } from '../../src/petl/task.js'
import { headOnlyDefaults } from './head-only.js'

const adapterMethods = ['head', 'plain', 'single', 'multi', 'mask-one', 'mask-layer'] as const
const otherMethods = ['lora-plain', 'lora-single', 'prefix-plain', 'prefix-single'] as const
export const comparedMethods = [...adapterMethods, ...otherMethods] as const
export type ComparedMethod = (typeof comparedMethods)[number]

export const titles: Readonly<Record<ComparedMethod, string>> = {
  head: 'head only',
  plain: 'plain adapter',
  single: 'single-task PROPETL',
  multi: 'multi-task PROPETL (OR)',
  'mask-one': 'one mask on the frozen prototype',
  'mask-layer': 'a mask per layer on the frozen prototype',
  'lora-plain': 'plain LoRA',
  'lora-single': 'single-task PROPETL, LoRA',
  'prefix-plain': 'plain prefix',
  'prefix-single': 'single-task PROPETL, prefix',
}

/** The tables of the page. The rows of a table are the tasks on which one of its `own` methods has runs. */
export const tables: readonly {
  readonly title: string
  readonly methods: readonly ComparedMethod[]
  readonly own: readonly ComparedMethod[]
}[] = [
  { title: 'Adapters', methods: adapterMethods, own: adapterMethods },
  {
    title: 'LoRA and prefix compared with the adapter',
    methods: ['plain', 'single', ...otherMethods],
    own: otherMethods,
  },
]

const adapter = { kind: 'adapter', bottleneck: 32, activation: 'relu', scaling: 1 } as const
/** All tasks share this module, so that twice the size still takes little storage compared with plain adapters. */
const sharedAdapter = { ...adapter, bottleneck: 64 } as const
const lora = { kind: 'lora', rank: 16, alpha: 24 } as const
const prefix = { kind: 'prefix', length: 32 } as const

/** The methods that train a module: which module, and by which training method. */
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

/** The method with which another one is compared: the same module with separate weights in every layer. */
export function plainCounterpart(method: ComparedMethod): ComparedMethod {
  const { module } = moduleMethods[isModuleMethod(method) ? method : 'plain']
  return ({ adapter: 'plain', lora: 'lora-plain', prefix: 'prefix-plain' } as const)[module.kind]
}

/** The settings of all methods. They are stored with each run, so their names do not change. */
interface CommonSettings {
  /** The first characters of the SHA-256 of the backbone. */
  readonly backbone: string
  /** Most training examples of a task. */
  readonly maxRows: number
  readonly maxLength: number
  readonly batchRows: number
  /** By default the number of epochs that training chooses. */
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
  /** For `multi`: epochs of separate training after the joint training. */
  readonly finishEpochs?: number
}

export interface MaskSettings extends CommonSettings {
  readonly method: 'mask-one' | 'mask-layer'
  /** The first characters of the SHA-256 of the prototype. */
  readonly prototype: string
  /** Tasks that the prototype was trained on. */
  readonly learnedOn: readonly string[]
  readonly combine: Combining
  readonly density: number
  readonly rates: Omit<Rates, 'weights'>
}

export type Settings = HeadSettings | ModuleSettings | MaskSettings

/** The choices of one call of the runner. */
export interface Choices {
  readonly backbone: string
  readonly prototype: string
  readonly learnedOn: readonly string[]
  readonly maxRows: number
  readonly epochs?: number
  /** How one mask for all layers is combined with the prototype's layer masks. */
  readonly combine: Combining
}

/** The first half of the epochs is joint training, the second half separate training. */
function splitEpochs(epochs: number | undefined): Pick<ModuleSettings, 'epochs' | 'finishEpochs'> {
  if (epochs === undefined) return { finishEpochs: separateEpochs }
  const finishEpochs = Math.floor(epochs / 2)
  return { epochs: epochs - finishEpochs, finishEpochs }
}

/** Longer texts are truncated to this many tokens. */
export const maxLength = 128
const weightDecay = 0.1
const density = 0.5
const separateEpochs = 3

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
      // The backbone encodes the examples once, so that many epochs take little time.
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
      const rates = { weights: petlKinds[module.kind].weightRate, scores: scoreRate, heads: 0.005 }
      const settings = { method, ...common, module, density, rates }
      return method === 'multi' ? { ...settings, ...splitEpochs(epochs) } : settings
    }
  }
}
