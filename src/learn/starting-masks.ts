// Masks that are known before a task is trained. A head on one of them is often better than a head on the bare backbone,
// and a mask that starts from the best of them has less to learn.

import { effectiveBitset } from '../petl/combining.js'
import type { Prototype } from '../petl/prototype.js'
import type { Combining } from '../petl/task.js'
import type { TaskFile } from '../petl/task-file.js'

export interface StartingMask {
  readonly name: string
  /** [mask layers, mask bytes], as the new task's own mask; absent for a random one */
  readonly bits?: Uint8Array
  /** Training keeps the density of a mask, so that it can change nothing about an empty one. */
  readonly isTrainable: boolean
}

/** The name of the empty mask: a head on it is a head on the bare backbone. */
export const noMask = 'no mask'

/**
 * No mask, the prototype's layer masks or else a random mask, and the masks of known tasks, as far as a new task can have
 * the same.
 * @param prototype absent: there are no masks
 * @param form of the new task's mask: layers, and how it is combined with layer masks
 * @param known tasks of the same prototype, by id
 */
export function startingMasks(
  prototype: Prototype | undefined,
  form: { readonly maskLayers: number; readonly combine: Combining },
  known: ReadonlyMap<string, TaskFile>,
): readonly StartingMask[] {
  if (prototype === undefined) return [{ name: noMask, isTrainable: false }]
  const { layers, maskBytes, layerMasks } = prototype
  const empty = new Uint8Array(form.maskLayers * maskBytes)
  const neutral = form.combine === 'and' ? empty.fill(255) : empty
  const eachLayer = form.maskLayers === layers && form.combine === 'none'
  const found: StartingMask[] = [
    { name: noMask, bits: neutral, isTrainable: false },
    eachLayer && layerMasks
      ? { name: 'the prototype', bits: layerMasks, isTrainable: true }
      : { name: 'a random mask', isTrainable: true },
  ]
  for (const [id, task] of known) {
    if (task.mask === undefined) continue
    const isSame = task.mask.layers === form.maskLayers && task.combine === form.combine
    // Masks that add up have entries of 2, which one mask does not have.
    if (isSame) found.push({ name: id, bits: task.mask.bits, isTrainable: true })
    else if (eachLayer && task.combine !== 'add')
      found.push({ name: id, bits: effectiveBitset(task, prototype), isTrainable: true })
  }
  return found
}
