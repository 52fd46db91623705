// Describes a task without running it: labels, density of the mask, overlap with the layer masks, and storage. The API and
// `propetl inspect` show it.

import { countOnes, intersectInto } from '../petl/bitset.js'
import { effectiveBitset, type ServedModel } from '../petl/combining.js'
import type { Prototype } from '../petl/prototype.js'
import { plainModuleBits, taskBits } from '../petl/storage.js'
import type { Head, InputKind, Linear, MaskFields } from '../petl/task.js'
import type { TaskFile } from '../petl/task-file.js'
import type { ProblemDescription } from './problems/served-problem.js'
import { describeProblem } from './problems.js'

/** Absent if the task has no mask. */
interface MaskDescription {
  readonly combine: MaskFields['combine']
  readonly mask: {
    readonly rows: number
    /** Share of ones in the mask of the task. */
    readonly density: number
    /** For each layer: share of ones once the mask is combined with the layer mask. */
    readonly effective_density: readonly number[]
    /** For each layer: share of the ones of the mask that the layer mask has too. Empty without layer masks. */
    readonly overlap_with_layer_masks: readonly number[]
  }
  readonly storage: {
    readonly mask_bits: number
    /** Bits of a module of the same shape that has its own weights in every layer. */
    readonly plain_module_bits: number
    readonly ratio: number
  }
}

export interface TaskDescription extends Partial<MaskDescription>, ProblemDescription {
  readonly problem_type: TaskFile['problemType']
  readonly labels: readonly string[]
  readonly pooling: TaskFile['pooling']
  /** Tokens to which longer texts are cut. */
  readonly max_length?: number
  readonly text_prefix?: string
  readonly inputs?: InputKind
  /** Absent for feature extraction. */
  readonly head?: {
    readonly inputs: number
    readonly dense?: number
    readonly outputs: number
    readonly weights: number
  }
  readonly description?: string
  readonly metrics?: Readonly<Record<string, unknown>>
  readonly range?: readonly [number, number]
}

/** @param task a task file that fits the model */
export function describeTask(task: TaskFile, { prototype }: Pick<ServedModel, 'prototype'>): TaskDescription {
  return {
    problem_type: task.problemType,
    labels: task.labels,
    pooling: task.pooling,
    ...(task.maxLength !== undefined && { max_length: task.maxLength }),
    ...(task.textPrefix !== undefined && { text_prefix: task.textPrefix }),
    ...(task.inputs && { inputs: task.inputs }),
    ...(task.head && { head: describeHead(task.head) }),
    ...(task.mask && prototype && describeMask(task, prototype)),
    ...describeProblem(task),
    ...(task.description !== undefined && { description: task.description }),
    ...(task.metrics !== undefined && { metrics: task.metrics }),
    ...(task.range !== undefined && { range: task.range }),
  }
}

function describeMask(task: MaskFields, prototype: Prototype): MaskDescription {
  const { maskableWeights: n, maskBytes, layers, layerMasks } = prototype
  const maskLayer = (set: Uint8Array, index: number) => set.subarray(index * maskBytes, (index + 1) * maskBytes)
  const own = (layer: number) => maskLayer(task.mask.bits, task.mask.layers === 1 ? 0 : layer)
  const effective = effectiveBitset(task, prototype)
  const everyLayer = <T>(figure: (layer: number) => T) => Array.from({ length: layers }, (_, layer) => figure(layer))
  const ones = Array.from({ length: task.mask.layers }, (_, index) => countOnes(maskLayer(task.mask.bits, index), n))
  const maskBits = taskBits(prototype, task.mask.layers)
  return {
    combine: task.combine,
    mask: {
      rows: task.mask.layers,
      density: share(
        ones.reduce((a, b) => a + b, 0),
        n * task.mask.layers,
      ),
      effective_density: everyLayer((layer) => share(countOnes(maskLayer(effective, layer), n), n)),
      overlap_with_layer_masks: layerMasks
        ? everyLayer((layer) =>
            share(countOnes(shared(own(layer), maskLayer(layerMasks, layer)), n), countOnes(own(layer), n)),
          )
        : [],
    },
    storage: {
      mask_bits: maskBits,
      plain_module_bits: plainModuleBits(prototype),
      ratio: maskBits / plainModuleBits(prototype),
    },
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
