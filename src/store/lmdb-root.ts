// Opening an lmdb file, and what its errors and reader table say.

import { open, type RootDatabase } from 'lmdb'

/**
 * Without lmdb's default, which commits first and flushes then: a transaction whose flush failed would be seen, and be
 * there after a restart.
 */
export function openLmdb(path: string, { overlappingSync = false } = {}): RootDatabase {
  const options = { path, maxDbs: 32, permissionsMode: 0o600, overlappingSync }
  // A batch of an event turn has a promise of its own that nobody could catch.
  return open({ ...options, eventTurnBatching: false })
}

/**
 * Each process that reads holds a lock of the operating system under its process id. If it is taken lmdb tries for ten
 * seconds, and then throws an error without the reason.
 */
export function checkReadable(root: RootDatabase): void {
  try {
    root.get('a key that is not there')
  } catch (error) {
    if (!(error instanceof TypeError)) throw error
    throw new Error(
      `another process with the process id ${process.pid} uses it, in another container; run one server for a data ` +
        'directory, and commands in its container (docker exec, kubectl exec)',
    )
  }
}

/** Ids of other processes that have read the file and have it open. */
export function otherReaders(root: RootDatabase): number[] {
  const rows = root.readerList().matchAll(/^ *(\d+) +[0-9a-f]+ /gm)
  return [...new Set(Array.from(rows, ([, pid]) => Number(pid)))].filter((pid) => pid !== process.pid)
}

/** After a failure at its last page lmdb refuses everything until the file is opened again. */
export const isPanic = (error: unknown): boolean => error instanceof Error && error.message.includes('MDB_PANIC')

/** lmdb rejects with the reason of a failed commit in a promise of its own. */
export async function commitError(error: Error & { commitError?: Promise<never> }): Promise<Error> {
  return (await error.commitError?.catch((reason: Error) => reason)) ?? error
}
