// Uploaded task files on disk: one lmdb environment. What it has acknowledged is on the disk; what it holds takes no
// memory of this process but the pages that are being read.

import { mkdirSync } from 'node:fs'
import { type Database, open, type RootDatabase } from 'lmdb'
import { Problem } from '../problem.js'

export interface StoredTask {
  readonly id: string
  /** SHA-256 of the file. */
  readonly digest: string
}

/** Looks at the version that is there, undefined for none, and throws if it is not the one that was expected. */
export type Precondition = (current: string | undefined) => void

export class TaskStore {
  private constructor(
    readonly root: RootDatabase,
    /** id → digest of the file. */
    readonly versions: Database<string, string>,
    /** id → file. */
    readonly files: Database<Buffer, string>,
  ) {}

  /** @throws Problem `invalid_setting` if the directory cannot be used */
  static open(directory: string): TaskStore {
    try {
      mkdirSync(directory, { recursive: true })
      const root = open({ path: `${directory}/tasks.lmdb`, maxDbs: 2 })
      return new TaskStore(
        root,
        root.openDB({ name: 'versions', encoding: 'string' }),
        root.openDB({ name: 'files', encoding: 'binary' }),
      )
    } catch (error) {
      throw new Problem(
        'invalid_setting',
        `the data directory ${directory} cannot be used: ${(error as Error).message}`,
      )
    }
  }

  digest(id: string): string | undefined {
    return this.versions.get(id)
  }

  file(id: string): Uint8Array | undefined {
    return this.files.get(id)
  }

  get count(): number {
    return (this.versions.getStats() as { entryCount: number }).entryCount
  }

  /** Up to `limit` tasks whose ids follow `after`, in the order of their ids. */
  list(after: string, limit: number): StoredTask[] {
    const range = this.versions.getRange({ start: after, exclusiveStart: true, limit })
    return Array.from(range, ({ key, value }) => ({ id: key, digest: value }))
  }

  /**
   * Stores a file under an id, in place of what was there; resolves once it would survive a power cut.
   * @returns the version that it replaced
   */
  async put(id: string, digest: string, file: Uint8Array, precondition: Precondition): Promise<string | undefined> {
    return this.#change(() => {
      const current = this.versions.get(id)
      precondition(current)
      this.versions.put(id, digest)
      this.files.put(id, Buffer.from(file))
      return current
    })
  }

  /** Removes a task; resolves once that would survive a power cut. */
  async delete(id: string, precondition: Precondition): Promise<void> {
    await this.#change(() => {
      precondition(this.versions.get(id))
      this.versions.remove(id)
      this.files.remove(id)
    })
  }

  async close(): Promise<void> {
    await this.root.close()
  }

  /** Checks and changes in one transaction, so that no other change comes between. */
  async #change<T>(change: () => T): Promise<T> {
    try {
      const result = await this.root.transaction(change)
      await this.root.flushed
      return result
    } catch (error) {
      if (error instanceof Problem) throw error
      throw new Problem('storage_failed', `the change could not be stored: ${(error as Error).message}`)
    }
  }
}
