// What was learned of a task, as a task file.

import {
  type Answering,
  type Combining,
  defaultThreshold,
  type Pooling,
  serializeTaskFile,
  type TaskMask,
} from '../formats/task-file.js'
import type { LabelSpace } from './labels.js'
import { headOf, type Tensor } from './tensors.js'
import type { TrainingTask } from './training.js'

export interface LearnedFile {
  /** SHA-256 of the prototype. */
  readonly prototype: string
  readonly mask: TaskMask
  readonly combine: Combining
  readonly pooling: Pooling
  /** Dev score. */
  readonly score: number
  readonly description?: string
}

export function learnedFile(
  { space, tensors, metric, dev }: Omit<TrainingTask, 'id'>,
  { score, ...content }: LearnedFile,
): Uint8Array {
  return serializeTaskFile({
    ...content,
    ...answering(space, tensors),
    labels: space.labels,
    ...(space.range && { range: space.range }),
    metrics: { dev: { [metric]: Math.round(score * 1e4) / 1e4, rows: dev.rows.length } },
  })
}

function answering(space: LabelSpace, tensors: readonly Tensor[]): Answering {
  const { problem: problemType } = space
  const head = { output: headOf(tensors, space) }
  if (problemType === 'multi_label_classification') return { problemType, head, threshold: defaultThreshold }
  return { problemType, head }
}
