// What is left of a task's mask once it has met the prototype's layer masks: the effective bitset, which alone says
// what weights a layer uses for the task. Paper, section 3.3: M[l,t] = M_layer[l] ∨ M_task[t].

import type { Prototype } from '../formats/prototype.js'
import type { TaskFile } from '../formats/task-file.js'
import { intersectInto, uniteInto } from './bitset.js'

/**
 * The effective bitset of a task, [layers, ⌈n/8⌉] bytes: the mask itself where it has a row a layer and meets no other.
 * @param task a task file that fits the prototype (checkFits)
 */
export function effectiveBitset(task: Pick<TaskFile, 'mask' | 'combine'>, prototype: Prototype): Uint8Array {
  const { layers, maskBytes, layerMasks } = prototype
  const { rows, bits } = task.mask
  if (task.combine === 'none' && rows === layers) return bits
  const effective = new Uint8Array(layers * maskBytes)
  for (let layer = 0; layer < layers; layer++) {
    const [start, end] = [layer * maskBytes, (layer + 1) * maskBytes]
    effective.set(rows === 1 ? bits : bits.subarray(start, end), start)
  }
  if (task.combine === 'none') return effective
  if (layerMasks === undefined) throw new Error(`combine "${task.combine}" needs a prototype with layer masks`)
  if (task.combine === 'or') uniteInto(effective, layerMasks)
  else intersectInto(effective, layerMasks)
  return effective
}
