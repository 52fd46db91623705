// The errors for data files that cannot be used.

import { Problem } from '../problem.js'

/**
 * @param place the file, or `file:line`
 * @param what what is wrong there, and what is expected
 * @param details for programs
 * @throws Problem `invalid_data`, always
 */
export function throwInvalidData(place: string, what: string, details: Readonly<Record<string, unknown>> = {}): never {
  throw new Problem('invalid_data', `${place}: ${what}`, details)
}

/** A value for a message, as the beginning of its JSON. */
export const shownValue = (value: unknown): string => JSON.stringify(value)?.slice(0, 80) ?? 'undefined'

const causes: Readonly<Partial<Record<string, string>>> = {
  ENOENT: 'there is no such file',
  EISDIR: 'it is a directory; expected a file',
  EACCES: 'permission denied',
}

/** @throws Problem `unreadable_file`, always */
export function throwUnreadable(
  path: string,
  error: { readonly code?: string | undefined; readonly message: string },
): never {
  throw new Problem('unreadable_file', `${path} cannot be read: ${causes[error.code ?? ''] ?? error.message}`)
}
