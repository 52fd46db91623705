// Combines a task's mask with the prototype's layer masks into the effective bitset, which selects the weights that a
// layer uses for the task. Paper, section 3.3: M[l,t] = M_layer[l] ∨ M_task[t].
//
// `add` gives entries of 0, 1 and 2. They take two bit planes, because a + b = (a ∨ b) + (a ∧ b).

import { Problem } from '../problem.js'
import { intersectInto, uniteInto } from './bitset.js'
import type { Prototype } from './prototype.js'
import type { Task } from './task.js'

/**
 * The effective bitset of a task: [planes, layers, ⌈n/8⌉] bytes, two planes for `add` and one otherwise. It is the mask
 * itself, without a copy, if that has all layers and combines with nothing.
 * @param task must fit the prototype ({@link checkTaskFitsPrototype})
 */
export function effectiveBitset(task: Pick<Task, 'mask' | 'combine'>, prototype: Prototype): Uint8Array {
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

/**
 * Checks that a task belongs to a prototype.
 * @throws Problem `prototype_mismatch` if the task was trained on another prototype, `invalid_task_file` if its shapes
 * do not fit
 */
export function checkTaskFitsPrototype(task: Task, prototype: Prototype): void {
  if (task.prototype !== prototype.digest)
    throw new Problem(
      'prototype_mismatch',
      `the task was trained on prototype ${task.prototype}, but the loaded prototype is ${prototype.digest}`,
      { task_prototype: task.prototype, server_prototype: prototype.digest },
    )
  const { mask, head } = task
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
  const width = head && (head.dense ?? head.output).inputs
  if (width !== undefined && width !== prototype.hiddenSize)
    throwInvalidTaskFile(`the head takes ${width} values; expected ${prototype.hiddenSize}, the backbone's hidden size`)
}

function throwInvalidTaskFile(message: string): never {
  throw new Problem('invalid_task_file', message)
}
