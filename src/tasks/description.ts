// What can be said of a task without running it: its labels, its mask's density, what it shares with the layer masks,
// what it costs to store. The API and `propetl inspect` both tell it.

import { countOnes, intersectInto } from '../petl/bitset.js'
import { effectiveBitset } from '../petl/combining.js'
import type { Prototype } from '../petl/prototype.js'
import { plainModuleBits, taskBits } from '../petl/storage.js'
import type { Head, Linear } from '../petl/task.js'
import type { TaskFile } from '../petl/task-file.js'

export interface TaskDescription {
  readonly problem_type: TaskFile['problemType']
  readonly labels: readonly string[]
  readonly combine: TaskFile['combine']
  readonly pooling: TaskFile['pooling']
  /** Absent for feature extraction. */
  readonly head?: {
    readonly inputs: number
    readonly dense?: number
    readonly outputs: number
    readonly weights: number
  }
  readonly mask: {
    readonly rows: number
    /** Share of ones in the task's own mask. */
    readonly density: number
    /** Share of ones in each layer, once combined with the layer masks. */
    readonly effective_density: readonly number[]
    /** For each layer: share of the task's ones that its layer mask has too. Empty without layer masks. */
    readonly overlap_with_layer_masks: readonly number[]
  }
  readonly storage: {
    readonly mask_bits: number
    /** A module of the same shape with weights of its own in every layer. */
    readonly plain_module_bits: number
    readonly ratio: number
  }
  /** Of a multi-label classification. */
  readonly threshold?: number
  /** Of a feature extraction. */
  readonly normalize?: boolean
  readonly description?: string
  readonly metrics?: Readonly<Record<string, unknown>>
  readonly range?: readonly [number, number]
}

/** @param task a task file that fits the prototype */
export function describeTask(task: TaskFile, prototype: Prototype): TaskDescription {
  const { maskableWeights: n, maskBytes, layers, layerMasks } = prototype
  const row = (set: Uint8Array, index: number) => set.subarray(index * maskBytes, (index + 1) * maskBytes)
  const own = (layer: number) => row(task.mask.bits, task.mask.layers === 1 ? 0 : layer)
  const effective = effectiveBitset(task, prototype)
  const everyLayer = <T>(figure: (layer: number) => T) => Array.from({ length: layers }, (_, layer) => figure(layer))
  const rows = Array.from({ length: task.mask.layers }, (_, index) => countOnes(row(task.mask.bits, index), n))
  const maskBits = taskBits(prototype, task.mask.layers)
  return {
    problem_type: task.problemType,
    labels: task.labels,
    combine: task.combine,
    pooling: task.pooling,
    ...(task.head && { head: describeHead(task.head) }),
    mask: {
      rows: task.mask.layers,
      density: share(
        rows.reduce((a, b) => a + b, 0),
        n * task.mask.layers,
      ),
      effective_density: everyLayer((layer) => share(countOnes(row(effective, layer), n), n)),
      overlap_with_layer_masks: layerMasks
        ? everyLayer((layer) =>
            share(countOnes(shared(own(layer), row(layerMasks, layer)), n), countOnes(own(layer), n)),
          )
        : [],
    },
    storage: {
      mask_bits: maskBits,
      plain_module_bits: plainModuleBits(prototype),
      ratio: maskBits / plainModuleBits(prototype),
    },
    ...(task.problemType === 'multi_label_classification' && { threshold: task.threshold }),
    ...(task.problemType === 'feature_extraction' && { normalize: task.normalize }),
    ...(task.description !== undefined && { description: task.description }),
    ...(task.metrics !== undefined && { metrics: task.metrics }),
    ...(task.range !== undefined && { range: task.range }),
  }
}

function describeHead({ dense, output }: Head): NonNullable<TaskDescription['head']> {
  const size = ({ weight, bias }: Linear) => weight.length + bias.length
  return {
    inputs: (dense ?? output).inputs,
    ...(dense && { dense: dense.outputs }),
    outputs: output.outputs,
    weights: size(output) + (dense ? size(dense) : 0),
  }
}

function shared(a: Uint8Array, b: Uint8Array): Uint8Array {
  const both = new Uint8Array(a)
  intersectInto(both, b)
  return both
}

const share = (part: number, whole: number) => (whole === 0 ? 0 : part / whole)
