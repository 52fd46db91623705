// The error for a data file that cannot be used.

import { Problem } from '../problem.js'

/**
 * @param place the file, or `file:line`
 * @param what what is wrong there, and what is expected
 * @throws Problem `invalid_data`, always
 */
export function throwInvalidData(place: string, what: string): never {
  throw new Problem('invalid_data', `${place}: ${what}`)
}
