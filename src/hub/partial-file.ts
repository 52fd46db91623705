// A file of the cache that is being downloaded. It gets its final name only when its content has the expected hash.

import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { digestOfFile } from '../formats/digest.js'
import { Problem } from '../problem.js'
import { describeError } from '../store/causes.js'
import type { HubHash } from './hub-client.js'

/** The methods throw Problem `unwritable_file`. */
export class PartialFile {
  private constructor(
    readonly path: string,
    readonly handle: FileHandle,
    /** In bytes. */
    public size: number,
  ) {}

  /** Opens a file, which may have the beginning of the content already. */
  static async open(path: string): Promise<PartialFile> {
    return inCache(path, async () => {
      const handle = await open(path, 'a')
      return new PartialFile(path, handle, (await handle.stat()).size)
    })
  }

  async append(bytes: Uint8Array): Promise<void> {
    await inCache(this.path, () => this.handle.appendFile(bytes))
    this.size += bytes.byteLength
  }

  async clear(): Promise<void> {
    await inCache(this.path, () => this.handle.truncate(0))
    this.size = 0
  }

  /** Whether the content has the hash. */
  async has({ kind, hex }: HubHash): Promise<boolean> {
    return (await (kind === 'sha256' ? digestOfFile(this.path) : gitId(this.path, this.size))) === hex
  }

  /** Makes the content durable and gives the file its final name. */
  async complete(path: string): Promise<void> {
    await inCache(path, async () => {
      await this.handle.sync()
      await this.handle.close()
      await rename(this.path, path)
    })
  }

  /** Gives the part to the next process that needs it. An empty file is removed. */
  async release(path: string): Promise<void> {
    await this.handle.close()
    await (this.size > 0 ? rename(this.path, path) : rm(this.path)).catch(() => {})
  }
}

/** The id of a file in Git: the SHA-1 of a header and the content. */
async function gitId(path: string, size: number): Promise<string> {
  const hash = createHash('sha1').update(`blob ${size}\0`)
  for await (const piece of createReadStream(path)) hash.update(piece as Buffer)
  return hash.digest('hex')
}

/** Reports errors of the file system, such as a full disk. */
export async function inCache<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw new Problem(
      'unwritable_file',
      `${path} cannot be written: ${describeError(error)}. HF_HUB_CACHE selects another folder for models of the Hub.`,
    )
  }
}
