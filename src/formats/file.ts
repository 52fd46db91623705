// Reads files so that every error starts with the path of the file.

import { readFile } from 'node:fs/promises'
import { Problem, type ProblemCode } from '../problem.js'

/**
 * Reads a file and parses its bytes.
 * @param unreadable the code of the Problem if the file cannot be read
 * @param whereMissing a sentence that says what to do if the file does not exist
 * @throws Problem with the code `unreadable`, or the Problem of `read` with the path before its message
 */
export async function readFileAs<T>(
  path: string,
  unreadable: ProblemCode,
  read: (bytes: Buffer) => T,
  whereMissing?: string,
): Promise<T> {
  const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' && whereMissing !== undefined)
      throw new Problem(unreadable, `${path} is missing. ${whereMissing}`)
    throw new Problem(unreadable, `${path} cannot be read: ${error.message}`)
  })
  throwIfLfsPointer(path, unreadable, bytes)
  return inFile(path, () => read(bytes))
}

/** Runs `read`, and puts the path before the message of a Problem that it throws. */
export function inFile<T>(path: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw error instanceof Problem ? new Problem(error.code, `${path}: ${error.message}`, error.details) : error
  }
}

const lfsStart = Buffer.from('version https://git-lfs.github.com/spec/')

/** Bytes that are needed to recognise a Git LFS pointer. */
export const lfsStartBytes = lfsStart.byteLength

/**
 * Rejects a Git LFS pointer. A repository cloned without Git LFS has these short texts instead of its large files.
 * @param head the first bytes of the file, at least `lfsStartBytes` of them
 * @throws Problem with the given code
 */
export function throwIfLfsPointer(path: string, code: ProblemCode, head: Uint8Array): void {
  if (!lfsStart.equals(head.subarray(0, lfsStartBytes))) return
  throw new Problem(
    code,
    `${path} is a Git LFS pointer, not the file itself. Run "git lfs pull" in its repository, or download the file.`,
  )
}
