// The error of a task file that is invalid, or does not fit the model.

import { Problem } from '../problem.js'

export function throwInvalidTaskFile(message: string): never {
  throw new Problem('invalid_task_file', message)
}
