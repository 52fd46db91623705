// The option and the check that the commands on a data directory share.

import { Option } from 'commander'
import { Problem } from '../problem.js'
import { environmentVariableOf, settings } from '../settings.js'

export const dataDirOption = (): Option =>
  new Option('--data-dir <dir>', 'data directory of the server')
    .default(settings.dataDir.value)
    .env(environmentVariableOf('dataDir'))

/**
 * Rejects a data directory that only mirrors a database, because changes in it would be lost.
 * @param remedy what to do instead
 * @throws Problem `invalid_setting`
 */
export function rejectMirror(remedy: string): void {
  const database = environmentVariableOf('databaseUrl')
  if (process.env[database])
    throw new Problem('invalid_setting', `${database} is set, so the data directory only mirrors a database; ${remedy}`)
}
