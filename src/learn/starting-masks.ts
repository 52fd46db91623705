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
  /** Whether there is no mask at all, so that the backbone computes alone. */
  readonly isBare: boolean
}

/** The name of the start without a mask: a head on the bare backbone. */
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
  const bare = { name: noMask, isBare: true } as const
  if (prototype === undefined) return [bare]
  const { layers, layerMasks } = prototype
  const eachLayer = form.maskLayers === layers && form.combine === 'none'
  const found: StartingMask[] = [
    bare,
    eachLayer && layerMasks
      ? { name: 'the prototype', bits: layerMasks, isBare: false }
      : { name: 'a random mask', isBare: false },
  ]
  for (const [id, task] of known) {
    if (task.mask === undefined) continue
    const isSame = task.mask.layers === form.maskLayers && task.combine === form.combine
    // Masks that add up have entries of 2, which one mask does not have.
    if (isSame) found.push({ name: id, bits: task.mask.bits, isBare: false })
    else if (eachLayer && task.combine !== 'add')
      found.push({ name: id, bits: effectiveBitset(task, prototype), isBare: false })
  }
  return found
}
