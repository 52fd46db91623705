// Shared by the tests of training: the settings of a small run, and the examples of a subset as rows of an engine.

import type { EngineRow } from '../../src/engine/engine.js'
import type { Subset } from '../../src/learn/example-set.js'
import type { NewTaskOptions } from '../../src/learn/new-task.js'
import { effectiveBitset } from '../../src/petl/combining.js'
import type { Prototype } from '../../src/petl/prototype.js'
import type { TaskFile } from '../../src/petl/task-file.js'

export const smallRun: Omit<NewTaskOptions, 'rates' | 'baseline'> = {
  maskRows: 'layer',
  combine: 'none',
  epochs: 3,
  batchRows: 16,
  density: 0.5,
  weightDecay: 0.1,
  pooling: 'mean',
  head: 'linear',
  normalize: true,
  seed: 3,
  threads: 1,
}

/** The examples of a subset, each of one text, as engine rows of a task. */
export function engineRows(task: TaskFile, prototype: Prototype, { set, examples }: Subset): EngineRow[] {
  const bitset = effectiveBitset(task, prototype)
  return Array.from(examples, (example) => ({
    ...set.tokens.span(example),
    pooling: task.pooling,
    maskKey: task.digest,
    bitset: () => bitset,
    withHidden: false,
  }))
}
