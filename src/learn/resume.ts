// Resumes training from a task file: its mask and head become the initial tensors of a run.

import type { TextForm } from '../backbones/tokenizer.js'
import type { LabelSpace } from '../data/label-space.js'
import { checkTaskFitsPrototype } from '../petl/combining.js'
import type { Prototype } from '../petl/prototype.js'
import type { Combining, Pooling } from '../petl/task.js'
import type { TaskFile } from '../petl/task-file.js'
import { Problem } from '../problem.js'
import type { HeadKind } from './plan.js'
import { type Tensor, tensorNamed } from './tensors.js'

/** @throws Problem `invalid_task_file` if a property of the task to resume is not that of the run */
function check(what: string, found: unknown, wanted: unknown): void {
  if (JSON.stringify(found) !== JSON.stringify(wanted))
    throw new Problem(
      'invalid_task_file',
      `the ${what} of the task to resume is ${shown(found)}; this run has ${shown(wanted)}`,
    )
}

/**
 * Checks that a run turns texts into the tokens that a task was trained on.
 * @throws Problem `invalid_task_file`
 */
export function checkSameForm(task: TaskFile, form: TextForm): void {
  if (task.maxLength !== undefined) check('maximum length (--max-length)', task.maxLength, form.maxLength)
  check('text prefix (--text-prefix)', task.textPrefix, form.textPrefix)
}

/**
 * Checks that a run can resume from a task file.
 * @throws Problem `prototype_mismatch`, `invalid_task_file`
 */
export function checkCanResume(
  task: TaskFile,
  prototype: Prototype,
  space: LabelSpace,
  run: {
    readonly combine: Combining
    readonly pooling: Pooling
    readonly maskRows: number
    readonly head: HeadKind
  },
): void {
  checkTaskFitsPrototype(task, prototype)
  check('problem type', task.problemType, space.problem)
  check('label list', task.labels, space.labels)
  check('pooling', task.pooling, run.pooling)
  if (task.mask) {
    check('combining', task.combine, run.combine)
    check('number of mask rows', task.mask.layers, run.maskRows)
  }
  if (task.head === undefined) return
  const { dense } = task.head
  check('head', dense ? 'dense' : 'linear', run.head)
  if (dense === undefined) return
  check("head's activation", dense.activation, 'tanh')
  check("head's dense size", dense.outputs, dense.inputs)
}

const shown = (value: unknown): string => JSON.stringify(value) ?? 'none'

/** Gives the head of a new run the values of a task file. */
export function copyResumedHead(task: TaskFile, { spread }: LabelSpace, head: readonly Tensor[]): void {
  if (task.head === undefined) return
  const { output, dense } = task.head
  const { mean, deviation } = spread ?? { mean: 0, deviation: 1 }
  const offset = task.problemType === 'regression' ? task.offset : 0
  const set = (name: string, values: Float32Array) => tensorNamed(head, name).values.set(values)
  set(
    'head.weight',
    output.weight.map((value) => value / deviation),
  )
  set(
    'head.bias',
    output.bias.map((value) => (offset - mean + value) / deviation),
  )
  if (dense === undefined) return
  set('head.dense.weight', dense.weight)
  set('head.dense.bias', dense.bias)
}
