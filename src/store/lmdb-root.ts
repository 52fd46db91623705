// Opens an lmdb file, and reads its errors and its reader table.

import { open, type RootDatabase } from 'lmdb'

/**
 * Without lmdb's default, which commits before it flushes. With that default, a transaction whose flush failed would be
 * visible, and would be there after a restart.
 */
export function openLmdb(path: string, { overlappingSync = false } = {}): RootDatabase {
  const options = { path, maxDbs: 64, permissionsMode: 0o600, overlappingSync }
  // With event turn batching, lmdb rejects promises that no caller can catch.
  return open({ ...options, eventTurnBatching: false })
}

/**
 * Each process that reads holds a lock of the operating system under its process id. If the lock is taken, lmdb retries
 * for ten seconds and then throws an error that does not give the reason.
 */
export function checkReadable(root: RootDatabase): void {
  try {
    root.get('a key that is not there')
  } catch (error) {
    if (!(error instanceof TypeError)) throw error
    throw new Error(
      `a process in another container uses it and has the same process id, ${process.pid}; run one server for each ` +
        'data directory, and run commands in its container (docker exec, kubectl exec)',
    )
  }
}

/** The ids of other processes that have the file open and have read it. */
export function otherReaders(root: RootDatabase): number[] {
  const rows = root.readerList().matchAll(/^ *(\d+) +[0-9a-f]+ /gm)
  return [...new Set(Array.from(rows, ([, pid]) => Number(pid)))].filter((pid) => pid !== process.pid)
}

/** After a failure at its last page, lmdb rejects all operations until the file is opened again. */
export const isPanic = (error: unknown): boolean => error instanceof Error && error.message.includes('MDB_PANIC')

/** The reason of a failed commit, which lmdb puts into another promise. */
export async function commitError(error: Error & { commitError?: Promise<never> }): Promise<Error> {
  return (await error.commitError?.catch((reason: Error) => reason)) ?? error
}
