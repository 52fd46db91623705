// A file read as what it should be; an error names the file before it says what is wrong.

import { readFile } from 'node:fs/promises'
import { Problem, type ProblemCode } from '../problem.js'

/**
 * @param whereMissing what to do if there is no such file, in a sentence
 * @throws Problem of the code `unreadable`, or whatever `read` throws, with the path before the message
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

/** Puts the file's name before what is wrong in it. */
export function inFile<T>(path: string, look: () => T): T {
  try {
    return look()
  } catch (error) {
    throw error instanceof Problem ? new Problem(error.code, `${path}: ${error.message}`, error.details) : error
  }
}

const lfsStart = Buffer.from('version https://git-lfs.github.com/spec/')

/** Bytes that tell a pointer of Git LFS from the file that it stands for. */
export const lfsStartBytes = lfsStart.byteLength

/**
 * A repository cloned without Git LFS has short texts in place of its large files.
 * @param head the file's bytes, at least the first `lfsStartBytes`
 * @throws Problem of the given code
 */
export function throwIfLfsPointer(path: string, code: ProblemCode, head: Uint8Array): void {
  if (!lfsStart.equals(head.subarray(0, lfsStartBytes))) return
  throw new Problem(
    code,
    `${path} is a pointer of Git LFS, not the file itself. Run "git lfs pull" in its repository, or download the file.`,
  )
}
