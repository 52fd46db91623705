// Files that a command writes: each appears whole or not at all.

import { rename, rm, writeFile } from 'node:fs/promises'
import { Problem } from '../problem.js'

/** Says before any work is done whether a file can be written. @throws Problem `unwritable_file` */
export async function claim(path: string): Promise<void> {
  const partial = `${path}.partial`
  await writeFile(partial, '').catch(unwritable(path))
  await rm(partial)
}

/** @throws Problem `unwritable_file` */
export async function write(path: string, bytes: Uint8Array): Promise<void> {
  const partial = `${path}.partial`
  await writeFile(partial, bytes).catch(unwritable(path))
  await rename(partial, path).catch(unwritable(path))
}

export const unwritable = (path: string) => (error: Error) => {
  throw new Problem('unwritable_file', `${path} cannot be written: ${error.message}`)
}
