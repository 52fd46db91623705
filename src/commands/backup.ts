// `propetl backup`: a consistent copy of the tasks, tenants and keys of a data directory, even while a server uses it.

import { existsSync } from 'node:fs'
import { rm, stat } from 'node:fs/promises'
import { Problem } from '../problem.js'
import { LmdbStore, storePath } from '../store/lmdb.js'
import { rejectMirror } from './data-directory.js'
import { renameDurably, throwUnwritable } from './output-file.js'

/**
 * @param path a file that does not exist yet
 * @returns the text to print
 * @throws Problem
 */
export async function backup(path: string, { dataDir }: { readonly dataDir: string }): Promise<string> {
  rejectMirror('back up the database instead')
  if (existsSync(path)) throw new Problem('unwritable_file', `${path} already exists; a backup does not replace files`)
  const source = storePath(dataDir)
  if (!existsSync(source))
    throw new Problem('invalid_setting', `there is no ${source}: ${dataDir} is not the data directory of a server`)
  const partial = `${path}.partial`
  // The copy contains the hashes of keys, so that only its owner may read it.
  process.umask(0o077)
  const store = LmdbStore.open(dataDir)
  try {
    await rm(partial, { force: true })
    await store.environment.backup(partial)
    await renameDurably(partial, path)
    return `copied ${source} to ${path}: ${(await stat(path)).size} bytes`
  } catch (error) {
    await rm(partial, { force: true })
    return throwUnwritable(path)(error as Error)
  } finally {
    await store.close()
  }
}
