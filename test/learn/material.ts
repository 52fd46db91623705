// What tests of learning have in common: the settings of a small run, and the rows of a part as a server runs them.

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

/** The rows of a part, each of one text, as requests to a task. */
export function requestsTo(task: TaskFile, prototype: Prototype, { set: data, examples: rows }: Subset): EngineRow[] {
  const bitset = effectiveBitset(task, prototype)
  return Array.from(rows, (row) => ({
    ...data.tokens.span(row),
    pooling: task.pooling,
    maskKey: task.digest,
    bitset: () => bitset,
    withHidden: false,
  }))
}
