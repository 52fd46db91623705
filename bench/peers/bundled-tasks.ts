// The tasks that are compared: any number of them, with the modules and heads of the bundled ones in turns.

import type { Linear } from '../../src/petl/task.js'
import { readTaskFile } from '../../src/petl/task-file.js'
import { logitsOf } from '../../src/tasks/heads.js'
import { bundledTasks, taskFileBytes } from '../support/material.js'

/** The heads of bundledTasks: each a linear map on the mean of the hidden states. */
export const bundledHeads: readonly Linear[] = bundledTasks.map((task) => {
  const { head, pooling } = readTaskFile(taskFileBytes(task))
  if (head === undefined || head.dense || pooling !== 'mean') throw new Error(`${task} is no linear map on a mean`)
  return head.output
})

/** Which of the bundled tasks a task is like. */
export const kindOf = (task: number): number => task % bundledTasks.length

/** What is at the place of a task's kind. */
export function ofKind<T>(kinds: readonly T[], task: number): T {
  const value = kinds[kindOf(task)]
  if (value === undefined) throw new Error(`there are ${kinds.length} kinds of tasks; expected ${bundledTasks.length}`)
  return value
}

/** The head outputs of a task on a pooled vector. */
export const headOutputs = (task: number, pooled: Float32Array): number[] =>
  Array.from(logitsOf({ output: ofKind(bundledHeads, task) }, pooled))
