// Uploaded task files, in the store: of each task its file and the file's digest, changed together.

import type { Store } from '../store/store.js'

export interface StoredTask {
  readonly id: string
  /** SHA-256 of the file. */
  readonly digest: string
}

/** Looks at the version that is there, undefined for none, and throws if it is not the one that was expected. */
export type Precondition = (current: string | undefined) => void

export class TaskStore {
  constructor(readonly store: Store) {}

  digest(id: string): string | undefined {
    return this.store.get('versions', id)?.toString()
  }

  file(id: string): Uint8Array | undefined {
    return this.store.get('files', id)
  }

  get count(): number {
    return this.store.count('versions')
  }

  /** Up to `limit` tasks whose ids follow `after`, in the order of their ids. */
  list(after: string, limit: number): StoredTask[] {
    const records = this.store.range('versions', { after, limit })
    return Array.from(records, ([id, digest]) => ({ id, digest: digest.toString() }))
  }

  /**
   * Stores a file under an id, in place of what was there; resolves once it would survive a power cut.
   * @returns the version that it replaced
   */
  async put(id: string, digest: string, file: Uint8Array, precondition: Precondition): Promise<string | undefined> {
    return this.store.change((records) => {
      const current = records.get('versions', id)?.toString()
      precondition(current)
      records.put('versions', id, Buffer.from(digest))
      records.put('files', id, file)
      return current
    })
  }

  /** Removes a task; resolves once that would survive a power cut. */
  async delete(id: string, precondition: Precondition): Promise<void> {
    await this.store.change((records) => {
      precondition(records.get('versions', id)?.toString())
      records.remove('versions', id)
      records.remove('files', id)
    })
  }
}
