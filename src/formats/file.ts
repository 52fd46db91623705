// A file read as what it should be; what is wrong with it is told with its name before it.

import { readFile } from 'node:fs/promises'
import { Problem, type ProblemCode } from '../problem.js'

/** @throws Problem of the code `unreadable`, or whatever `read` throws, with the path before the message */
export async function readFileAs<T>(path: string, unreadable: ProblemCode, read: (bytes: Buffer) => T): Promise<T> {
  const bytes = await readFile(path).catch((error: Error) => {
    throw new Problem(unreadable, `${path} cannot be read: ${error.message}`)
  })
  return inFile(path, () => read(bytes))
}

/** Puts the file's name before what is wrong in it. */
export function inFile<T>(path: string, look: () => T): T {
  try {
    return look()
  } catch (error) {
    throw error instanceof Problem ? new Problem(error.code, `${path}: ${error.message}`, error.details) : error
  }
}
