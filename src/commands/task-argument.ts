// The argument of evaluate and predict that names a task: a task file, or the URL of a task on a server.

import { isDataFileName } from '../data/file-rows.js'
import { type LocalTaskOptions, openTaskFile } from '../evaluation/local-task.js'
import type { OpenedTask } from '../evaluation/opened-task.js'
import { Problem } from '../problem.js'
import { findModelFiles, type ModelFlags } from './model-directory.js'
import { openServerTask } from './server-task.js'
import { shellWord } from './upload-command.js'

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
export const openTask = async (
  task: string,
  options: Omit<LocalTaskOptions, 'directory' | 'prototype'> & ModelFlags,
  onWarning: (what: string) => void,
): Promise<OpenedTask> =>
  isAddress(task)
    ? openServerTask(task, onWarning)
    : openTaskFile(task, { ...options, ...(await findModelFiles(options)) })
