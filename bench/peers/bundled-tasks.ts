// The tasks of the comparison. Task i has the module and head of bundled task i mod N, which is called its kind.

import type { Linear } from '../../src/petl/task.js'
import { readTaskFile } from '../../src/petl/task-file.js'
import { logitsOf } from '../../src/tasks/heads.js'
import { bundledTasks, taskFileBytes } from '../support/material.js'

/** The heads of bundledTasks. Each must be a linear map on the mean of the hidden states. */
export const bundledHeads: readonly Linear[] = bundledTasks.map((task) => {
  const { head, pooling } = readTaskFile(taskFileBytes(task))
  if (head === undefined || head.dense || pooling !== 'mean')
    throw new Error(`the head of ${task} is not a linear map on the mean of the hidden states`)
  return head.output
})

/** The index of a task's kind in bundledTasks. */
export const kindOf = (task: number): number => task % bundledTasks.length

/** The item of a task's kind in a list with one item per bundled task. */
export function ofKind<T>(kinds: readonly T[], task: number): T {
  const value = kinds[kindOf(task)]
  if (value === undefined)
    throw new Error(`the list has ${kinds.length} items; expected ${bundledTasks.length}, one per bundled task`)
  return value
}

/** The outputs of a task's head for a pooled vector. */
export const headOutputs = (task: number, pooled: Float32Array): number[] =>
  Array.from(logitsOf({ output: ofKind(bundledHeads, task) }, pooled))
