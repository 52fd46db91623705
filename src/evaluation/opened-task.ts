// A task to predict with. local-task.ts opens a task file, and the commands also open a task on a server.

import type { Text } from '../backbones/tokenizer.js'
import type { LabelSpace } from '../data/label-space.js'
import type { ScoreOptions } from '../tasks/heads.js'
import type { Prediction } from '../tasks/predictions.js'

export interface OpenedTask {
  readonly space: LabelSpace
  /** Whether the task takes pairs of texts that are encoded together. */
  readonly takesPairs: boolean
  /** What its training measured, as in its file. */
  readonly metrics: Readonly<Record<string, unknown>>
  /** Most texts of one call of `predict`, and most characters of several texts. */
  readonly maxTexts: number
  readonly maxCharacters: number
  /** Number of concurrent calls that gives the best throughput. */
  readonly concurrency: number
  /** Predictions in the order of the texts. @throws Problem; the reason of the signal */
  readonly predict: (
    texts: readonly Text[],
    options: ScoreOptions,
    signal?: AbortSignal,
  ) => Promise<readonly Prediction[]>
  readonly close: () => Promise<void>
}
