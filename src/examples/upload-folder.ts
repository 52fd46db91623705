// Files of request bodies while they are received and read. What a killed server left behind is removed at the next start.

import { randomBytes } from 'node:crypto'
import { mkdir, open, readdir, rm, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { type Holding, Pool } from '../costs/pool.js'
import type { Owner } from '../owner.js'
import { Problem, reasonOf } from '../problem.js'

/** How many of the largest files fit. An owner gets at most half of what is free. */
const largestFiles = 4
/** A file counts for at least this part of all, so that the number of files is bounded, too. */
const leastPart = 1 / 64
/** Bytes that a file leaves free on the disk: the store needs some. */
const leftFree = 256 << 20
/** Bytes after which the free space is looked up again. */
const checkedBytes = 16 << 20

export interface ReceivedFile {
  readonly path: string
  readonly bytes: number
  /** Deletes the file. Calling it again does nothing. */
  remove(): Promise<void>
}

export class UploadFolder {
  /** Bytes of files. */
  readonly files: Pool

  private constructor(
    readonly path: string,
    maxBytes: number,
  ) {
    this.files = new Pool('files of examples', largestFiles * maxBytes)
  }

  /**
   * Creates the folder, or removes the files of servers that do not run any more.
   * @param maxBytes of a file
   */
  static async open(dataDir: string, maxBytes: number): Promise<UploadFolder> {
    const path = join(dataDir, 'uploads')
    await mkdir(path, { recursive: true, mode: 0o700 })
    for (const name of await readdir(path)) {
      const server = Number(/^(\d+)-/.exec(name)?.[1])
      // In a container every server has the same process id.
      if (server === process.pid || !isRunning(server)) await rm(join(path, name), { force: true, recursive: true })
    }
    return new UploadFolder(path, maxBytes)
  }

  /**
   * Writes a body to a file. The body is read as fast as the disk takes it.
   * @param extension of the file, with the dot
   * @param length of the body, if it is known
   * @throws Problem `overloaded`, `storage_failed`; what the body throws. Then there is no file
   */
  async receive(
    owner: Owner,
    extension: string,
    length: number | undefined,
    body: AsyncIterable<Buffer>,
  ): Promise<ReceivedFile> {
    const least = leastPart * this.files.limit
    const held = this.files.take(owner, Math.max(least, length ?? 0))
    const path = join(this.path, `${process.pid}-${randomBytes(8).toString('hex')}${extension}`)
    const remove = async () => {
      await rm(path, { force: true })
      held.release()
    }
    try {
      await this.#checkDisk(length ?? 0)
      const bytes = await this.#write(path, held, body)
      return { path, bytes, remove }
    } catch (error) {
      await remove()
      throw (error as NodeJS.ErrnoException).code === 'ENOSPC' ? diskFull(reasonOf(error)) : error
    }
  }

  async #write(path: string, held: Holding, body: AsyncIterable<Buffer>): Promise<number> {
    const file = await open(path, 'wx', 0o600)
    try {
      let bytes = 0
      let checked = 0
      for await (const piece of body) {
        bytes += piece.byteLength
        if (bytes > held.bytes) held.add(bytes - held.bytes)
        if (bytes - checked >= checkedBytes) {
          await this.#checkDisk(checkedBytes)
          checked = bytes
        }
        await file.appendFile(piece)
      }
      return bytes
    } finally {
      await file.close()
    }
  }

  async #checkDisk(bytes: number): Promise<void> {
    const { bavail, bsize } = await statfs(this.path)
    const free = bavail * bsize
    if (free < bytes + Math.min(leftFree, this.files.limit))
      throw diskFull(`the disk of the data directory has ${free} bytes free`)
  }
}

const diskFull = (reason: string): Problem =>
  new Problem('storage_failed', `the body cannot be stored: ${reason}; nothing was changed`)

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
