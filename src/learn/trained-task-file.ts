// Writes the result of training a task as a task file.

import type { LabelSpace } from '../data/label-space.js'
import { packBits } from '../petl/bitset.js'
import {
  type BareFields,
  defaultThreshold,
  type MaskFields,
  type Pooling,
  type ProblemFields,
  type TaskMask,
  type TextFields,
} from '../petl/task.js'
import { serializeTaskFile } from '../petl/task-file.js'
import type { Metric } from './metrics.js'
import { type ModuleTensor, type Tensor, trainedHead } from './tensors.js'
import type { Trainer } from './trainer.js'

/** With a mask, or with the digest of the backbone for a head without a mask. */
export type TrainedTaskContent = (MaskFields | BareFields) & {
  readonly texts: TextFields
  /** Digests of examples that training did not use. */
  readonly heldOut: Uint8Array
  readonly pooling: Pooling
  /** Whether the vectors of a feature extraction are scaled to an L2 norm of 1. */
  readonly normalize: boolean
  /** Dev score. */
  readonly score: number
  readonly description?: string
}

export interface TrainedTask {
  readonly space: LabelSpace
  /** Of the head. */
  readonly tensors: readonly Tensor[]
  readonly metric: Metric
  /** Examples that the score is of. */
  readonly heldOut: number
  /** Folds of a cross-validation; 1 for a dev part. */
  readonly folds?: number
  /** Mean loss of the held-out examples before training and after each epoch. */
  readonly losses?: readonly number[]
}

export function trainedTaskFile(
  { space, tensors, metric, heldOut, folds = 1, losses = [] }: TrainedTask,
  { score, normalize, texts, ...content }: TrainedTaskContent,
): Uint8Array {
  return serializeTaskFile({
    ...content,
    ...texts,
    ...outputPart(space, tensors, normalize),
    labels: space.labels,
    ...(space.words && { words: space.words }),
    ...(space.problem === 'regression' && space.range && { range: space.range }),
    metrics: {
      [folds > 1 ? 'cross_validation' : 'dev']: {
        [metric]: rounded(score),
        rows: heldOut,
        ...(folds > 1 && { folds }),
      },
      ...(losses.length > 1 && losses.length <= maxLosses && { losses: losses.map(rounded) }),
    },
  })
}

/** More would exceed the limit on the length of the metrics. */
const maxLosses = 1000

const rounded = (value: number): number => Math.round(value * 1e4) / 1e4

function outputPart(space: LabelSpace, tensors: readonly Tensor[], normalize: boolean): ProblemFields {
  const { problem: problemType, thresholds, spread } = space
  switch (problemType) {
    case 'single_label_classification': {
      const isEach = thresholds instanceof Float32Array
      return { problemType, head: trainedHead(tensors, space), ...(isEach && { thresholds }) }
    }
    case 'multi_label_classification':
      return { problemType, head: trainedHead(tensors, space), thresholds: thresholds ?? defaultThreshold }
    case 'regression':
      return { problemType, head: trainedHead(tensors, space), offset: spread?.mean ?? 0 }
    case 'token_classification':
      return { problemType, head: trainedHead(tensors, space) }
    case 'feature_extraction':
      return { problemType, normalize }
  }
}

/**
 * The mask of a task file from the current masks of tensors.
 * @param tensors the tensors of the module, for one owner or for several
 */
export function taskMask(trainer: Trainer, tensors: readonly ModuleTensor[]): TaskMask {
  const masks = tensors.filter(({ kind, training }) => kind === 'mask' && training === 'trained')
  const owners = [...new Set(masks.map(({ owner }) => owner))]
  const layers = owners.map((owner) =>
    packBits(masks.filter((mask) => mask.owner === owner).map((mask) => trainer.maskOf(mask))),
  )
  const bits = Uint8Array.from(Buffer.concat(layers))
  return { layers: layers.length, weights: (8 * bits.byteLength) / layers.length, exact: false, bits }
}
