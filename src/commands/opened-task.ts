// A task to predict with: from a task file or on a server.

import type { Text } from '../backbones/tokenizer.js'
import type { LabelSpace } from '../data/label-space.js'
import type { ServedPrediction } from '../learn/served-predictions.js'
import { type LocalTaskOptions, openTaskFile } from './local-task.js'
import { openServerTask } from './server-task.js'

export interface OpenedTask {
  readonly space: LabelSpace
  /** Most texts of one call of `predict`. */
  readonly maxTexts: number
  readonly predict: (texts: readonly Text[]) => Promise<readonly ServedPrediction[]>
  readonly close: () => Promise<void>
}

/**
 * @param task a task file, or the URL of a task on a server: http://host:8080/tasks/reviews
 * @param options for a task file
 * @throws Problem
 */
export const openTask = (task: string, options: LocalTaskOptions): Promise<OpenedTask> =>
  /^https?:\/\//.test(task) ? openServerTask(task) : openTaskFile(task, options)
