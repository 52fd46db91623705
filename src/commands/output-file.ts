// Files that a command writes: each appears complete or not at all.

import { type Stats, statSync } from 'node:fs'
import { access, constants, open, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, sep } from 'node:path'
import { Problem } from '../problem.js'
import { describeError } from '../store/causes.js'
import { shellWord } from './upload-command.js'

/** Checks that a file can be written, before the work that makes its content. @throws Problem `unwritable_file` */
export async function checkWritable(path: string): Promise<void> {
  const existing = statOf(path)
  if (existing?.isDirectory() || path.endsWith(sep))
    throw new Problem('unwritable_file', `${path} is a directory; expected the name of the file to write`)
  if (existing && !existing.isFile())
    throw new Problem(
      'unwritable_file',
      `${shellWord(path)} is not a regular file; expected the name of the file to write`,
    )
  const partial = `${path}.partial`
  try {
    if (existing) await access(path, constants.W_OK)
    await writeFile(partial, '')
    await rm(partial)
  } catch (error) {
    throwUnwritable(path)(error as Error)
  }
}

/** Facts about a file, if there is one. @throws Problem `unwritable_file` */
function statOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false })
  } catch (error) {
    return throwUnwritable(path)(error as Error)
  }
}

/** Makes the names of the files in a directory durable. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path)
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

/** Writes a piece of a file. @throws Problem `unwritable_file` */
export type Append = (piece: string | Uint8Array) => Promise<void>

/** Writes a file durably. After an error the file is as it was before. @throws Problem `unwritable_file` */
export const writeAtomically = (path: string, bytes: Uint8Array): Promise<void> =>
  writePiecesAtomically(path, (append) => append(bytes))

/**
 * Writes a file in pieces, durably. It appears when all pieces are written; if `write` throws, nothing has changed.
 * @throws Problem `unwritable_file`; whatever `write` throws
 */
export async function writePiecesAtomically<T>(path: string, write: (append: Append) => Promise<T>): Promise<T> {
  const partial = `${path}.partial`
  const file = await open(partial, 'w').catch(throwUnwritable(path))
  try {
    const result = await write((piece) => file.appendFile(piece).catch(throwUnwritable(path)))
    await file.sync().catch(throwUnwritable(path))
    await file.close().catch(throwUnwritable(path))
    await rename(partial, path).catch(throwUnwritable(path))
    await syncDirectory(dirname(path)).catch(throwUnwritable(path))
    return result
  } catch (error) {
    await file.close().catch(() => {})
    await rm(partial, { force: true }).catch(() => {})
    throw error
  }
}

/** Gives a file its final name, which no other file may have, and makes the name durable. */
export async function renameDurably(partial: string, path: string): Promise<void> {
  const directory = await open(dirname(path))
  try {
    await rename(partial, path)
    await directory.sync()
  } catch (error) {
    await rm(path, { force: true })
    throw error
  } finally {
    await directory.close()
  }
}

export const throwUnwritable =
  (path: string) =>
  (error: NodeJS.ErrnoException): never => {
    const cause =
      error.code === 'ENOENT'
        ? `there is no directory ${shellWord(dirname(path))}; create it first`
        : describeError(error)
    throw new Problem('unwritable_file', `${shellWord(path)} cannot be written: ${cause}`)
  }
