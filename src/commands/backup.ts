// `propetl backup`: a copy of a data directory's tasks, tenants and keys as one moment has them, also of a server that runs.

import { existsSync } from 'node:fs'
import { rm, stat } from 'node:fs/promises'
import { Problem } from '../problem.js'
import { LmdbStore, storePath } from '../store/lmdb.js'
import { rejectMirror } from './data-directory.js'
import { renameDurably, throwUnwritable } from './output-file.js'

/**
 * @param path of a file that is not there yet
 * @returns what to print
 * @throws Problem
 */
export async function backup(path: string, { dataDir }: { readonly dataDir: string }): Promise<string> {
  rejectMirror('the data directory is a mirror of the database then: back up the database')
  if (existsSync(path)) throw new Problem('unwritable_file', `${path} is there already; a backup replaces no file`)
  const source = storePath(dataDir)
  if (!existsSync(source))
    throw new Problem('invalid_setting', `there is no ${source}: ${dataDir} is not the data directory of a server`)
  const partial = `${path}.partial`
  // It holds what the data directory does.
  process.umask(0o077)
  const store = LmdbStore.open(dataDir)
  try {
    await rm(partial, { force: true })
    await store.environment.backup(partial)
    await renameDurably(partial, path)
    return `${source} is in ${path} as it was: ${(await stat(path)).size} bytes`
  } catch (error) {
    await rm(partial, { force: true })
    return throwUnwritable(path)(error as Error)
  } finally {
    await store.close()
  }
}
