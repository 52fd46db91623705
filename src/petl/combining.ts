// Checks whether a task belongs to a model, and combines its mask with the prototype's layer masks into the effective
// bitset, which selects the weights that a layer uses for the task. Paper, section 3.3: M[l,t] = M_layer[l] ∨ M_task[t].
//
// `add` gives entries of 0, 1 and 2. They take two bit planes, because a + b = (a ∨ b) + (a ∧ b).

import type { Backbone } from '../backbones/backbone.js'
import { Problem } from '../problem.js'
import { intersectInto, uniteInto } from './bitset.js'
import { throwInvalidTaskFile } from './invalid-task-file.js'
import type { Prototype } from './prototype.js'
import type { BareFields, MaskFields, Task } from './task.js'

/** What the tasks of a server or of a command belong to. */
export interface ServedModel {
  /** SHA-256 of the backbone's weights. */
  readonly backbone: string
  readonly hiddenSize: number
  /** Absent: only tasks without a mask can be used. */
  readonly prototype?: Prototype
}

/**
 * A backbone, with its prototype if there is one.
 * @param prototype must fit the backbone
 */
export const servedModel = (
  { digest, dims }: Pick<Backbone, 'digest' | 'dims'>,
  prototype?: Prototype,
): ServedModel => ({
  backbone: digest,
  hiddenSize: dims.hiddenSize,
  ...(prototype && { prototype }),
})

/** A prototype and the backbone that it was trained on. */
export const modelOf = (prototype: Prototype): ServedModel => {
  const { backbone, hiddenSize } = prototype
  return { backbone, hiddenSize, prototype }
}

const zeros = new WeakMap<Prototype, Uint8Array>()

/** The bitset of all tasks without a mask. */
function noWeights(prototype: Prototype): Uint8Array {
  const bitset = zeros.get(prototype) ?? new Uint8Array(prototype.layers * prototype.maskBytes)
  zeros.set(prototype, bitset)
  return bitset
}

/**
 * The effective bitset of a task: [planes, layers, ⌈n/8⌉] bytes, two planes for `add` and one otherwise. It is the mask
 * itself, without a copy, if that has all layers and combines with nothing. Without a mask it is zeros.
 * @param task must fit the prototype ({@link checkTaskFits})
 */
export function effectiveBitset(
  task: Pick<MaskFields, 'mask' | 'combine'> | Pick<BareFields, 'mask' | 'combine'>,
  prototype: Prototype,
): Uint8Array {
  if (task.mask === undefined) return noWeights(prototype)
  const { layers, maskBytes, layerMasks } = prototype
  const { layers: maskLayers, bits } = task.mask
  if (task.combine === 'none' && maskLayers === layers) return bits
  const effective = new Uint8Array(layers * maskBytes)
  for (let layer = 0; layer < layers; layer++) {
    const [start, end] = [layer * maskBytes, (layer + 1) * maskBytes]
    effective.set(maskLayers === 1 ? bits : bits.subarray(start, end), start)
  }
  if (task.combine === 'none') return effective
  if (layerMasks === undefined) throw new Error(`combine "${task.combine}" needs a prototype with layer masks`)
  switch (task.combine) {
    case 'or':
      uniteInto(effective, layerMasks)
      return effective
    case 'and':
      intersectInto(effective, layerMasks)
      return effective
    case 'add': {
      const planes = new Uint8Array(2 * effective.byteLength)
      planes.set(effective)
      planes.set(effective, effective.byteLength)
      uniteInto(planes.subarray(0, effective.byteLength), layerMasks)
      intersectInto(planes.subarray(effective.byteLength), layerMasks)
      return planes
    }
  }
}

/** Whether a task was trained on the prototype or, without a mask, on the backbone of a model. */
export const wasTrainedOn = (task: Task, { backbone, prototype }: ServedModel): boolean =>
  task.mask ? task.prototype === prototype?.digest : task.backbone === backbone

/**
 * Checks that a task belongs to a backbone and its prototype.
 * @throws Problem `prototype_mismatch` or `backbone_mismatch` if the task was trained on another one, `invalid_task_file`
 *   if its shapes do not fit
 */
export function checkTaskFits(task: Task, model: ServedModel): void {
  if (!wasTrainedOn(task, model)) throwMismatch(task, model)
  const { hiddenSize, prototype } = model
  if (task.mask && prototype) checkMaskFits(task, prototype)
  const [layer, what] =
    task.problemType === 'feature_extraction'
      ? [task.projection, 'projection']
      : [task.head.dense ?? task.head.output, 'head']
  if (layer !== undefined && layer.inputs !== hiddenSize)
    throwInvalidTaskFile(`the ${what} takes ${layer.inputs} values; expected ${hiddenSize}, the backbone's hidden size`)
}

/** {@link checkTaskFits} with a prototype and its backbone. */
export const checkTaskFitsPrototype = (task: Task, prototype: Prototype): void =>
  checkTaskFits(task, modelOf(prototype))

function throwMismatch(task: Task, { backbone, prototype }: ServedModel): never {
  if (task.mask === undefined)
    throw new Problem(
      'backbone_mismatch',
      `the task was trained on a backbone with weights ${task.backbone}, but the loaded backbone has weights ${backbone}`,
      { task_backbone: task.backbone, server_backbone: backbone },
    )
  if (prototype === undefined)
    throw new Problem(
      'prototype_mismatch',
      `the task was trained on prototype ${task.prototype}, but the model has no prototype; only tasks without a mask can be used`,
      { task_prototype: task.prototype },
    )
  throw new Problem(
    'prototype_mismatch',
    `the task was trained on prototype ${task.prototype}, but the loaded prototype is ${prototype.digest}`,
    { task_prototype: task.prototype, server_prototype: prototype.digest },
  )
}

function checkMaskFits(task: MaskFields, prototype: Prototype): void {
  const { mask } = task
  const n = prototype.maskableWeights
  if (mask.layers !== 1 && mask.layers !== prototype.layers)
    throwInvalidTaskFile(`mask has ${mask.layers} rows; expected 1, or ${prototype.layers} (one for each layer)`)
  if (mask.exact && mask.weights !== n)
    throwInvalidTaskFile(`each row of mask covers ${mask.weights} weights; expected ${n}, as the prototype has`)
  if (!mask.exact && mask.weights !== prototype.maskBytes * 8)
    throwInvalidTaskFile(
      `each row of mask has ${mask.weights / 8} bytes; expected ${prototype.maskBytes} for the prototype's ${n} weights`,
    )
  if (task.combine !== 'none' && prototype.layerMasks === undefined)
    throwInvalidTaskFile(`combine is "${task.combine}", but the prototype has no layer masks; expected "none"`)
}
