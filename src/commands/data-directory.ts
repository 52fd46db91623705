// The data directory of a server, as commands work on it.

import { environmentVariableOf } from '../config.js'
import { Problem } from '../problem.js'

/**
 * A data directory is only a mirror where there is a database: what is written to it would be lost.
 * @param instead what to do then
 * @throws Problem `invalid_setting`
 */
export function rejectMirror(instead: string): void {
  const database = environmentVariableOf('databaseUrl')
  if (process.env[database]) throw new Problem('invalid_setting', `${database} is set, and ${instead}`)
}
