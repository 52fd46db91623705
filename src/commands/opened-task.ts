// A task to predict with: from a task file or on a server.

import type { Text } from '../backbones/tokenizer.js'
import { isDataFileName } from '../data/file-rows.js'
import type { LabelSpace } from '../data/label-space.js'
import { Problem } from '../problem.js'
import type { ScoreOptions } from '../tasks/heads.js'
import type { Prediction } from '../tasks/predictions.js'
import { type LocalTaskOptions, openTaskFile } from './local-task.js'
import { openServerTask } from './server-task.js'
import { shellWord } from './upload-command.js'

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

const isAddress = (task: string): boolean => /^https?:\/\//i.test(task)

/**
 * Checks that the arguments of a command are in the right order, before it does anything slow.
 * @param task the argument in the place of the task
 * @throws Problem `invalid_setting`
 */
export function checkIsTask(task: string): void {
  if (!isAddress(task) && isDataFileName(task))
    throw new Problem(
      'invalid_setting',
      `${shellWord(task)} is a data file; expected first a task file or the URL of a task, then the data file`,
    )
}

/**
 * @param task a task file, or the URL of a task on a server: http://host:8080/tasks/reviews
 * @param options for a task file
 * @param onWarning receives that a server is overloaded or not available, and that requests are repeated
 * @throws Problem
 */
export const openTask = (
  task: string,
  options: LocalTaskOptions,
  onWarning: (what: string) => void,
): Promise<OpenedTask> => (isAddress(task) ? openServerTask(task, onWarning) : openTaskFile(task, options))
