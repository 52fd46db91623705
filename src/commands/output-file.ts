// Files that a command writes: each appears whole or not at all.

import { open, rename, rm, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { Problem } from '../problem.js'
import { describeError } from '../store/causes.js'

/** Says before any work is done whether a file can be written. @throws Problem `unwritable_file` */
export async function checkWritable(path: string): Promise<void> {
  const partial = `${path}.partial`
  await writeFile(partial, '').catch(throwUnwritable(path))
  await rm(partial)
}

/** @throws Problem `unwritable_file` */
export async function writeAtomically(path: string, bytes: Uint8Array): Promise<void> {
  const partial = `${path}.partial`
  await writeFile(partial, bytes).catch(throwUnwritable(path))
  await rename(partial, path).catch(throwUnwritable(path))
}

/** Gives a file its name, which no other one has, and makes that durable. */
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

export const throwUnwritable = (path: string) => (error: Error) => {
  throw new Problem('unwritable_file', `${path} cannot be written: ${describeError(error)}`)
}
