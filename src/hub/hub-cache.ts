// One model in the cache that all programs of Hugging Face share: blobs/<hash> has the contents, snapshots/<commit>/<path>
// has links to them, and refs/<revision> has the commit of a branch or a tag.

import { randomUUID } from 'node:crypto'
import {
  copyFile,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  statfs,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { getRepoFolderName } from '@huggingface/hub'
import { Problem } from '../problem.js'
import { errorName } from '../store/causes.js'
import type { HubFile } from './hub-client.js'
import type { HubName } from './hub-name.js'
import { inCache, PartialFile } from './partial-file.js'

/** A partial file that was not written for this long belongs to no running process. */
const abandonedMs = 120_000

/** The methods that write throw Problem `unwritable_file`. */
export class HubCache {
  readonly #folder: string

  /** @param root folder of all models */
  constructor(
    root: string,
    readonly name: HubName,
  ) {
    this.#folder = join(root, getRepoFolderName({ type: 'model', name: name.repository }))
  }

  snapshot(commit: string): string {
    return join(this.#folder, 'snapshots', commit)
  }

  /** The commit that the revision named at the last download, or the revision itself if it is a commit. */
  async knownCommit(): Promise<string | undefined> {
    const commit = (await readFile(this.#ref, 'utf8').catch(() => this.name.revision)).trim()
    return /^[0-9a-f]{40}$/.test(commit) ? commit : undefined
  }

  /** Remembers the commit of the revision. */
  async setCommit(commit: string): Promise<void> {
    if (commit === (await this.knownCommit())) return
    const partial = `${this.#ref}.${randomUUID()}`
    await inCache(this.#ref, async () => {
      await mkdir(dirname(partial), { recursive: true })
      await writeFile(partial, commit)
      await rename(partial, this.#ref)
    })
  }

  /** Whether a commit has a file. */
  async has(commit: string, file: HubFile): Promise<boolean> {
    return (await sizeOf(join(this.snapshot(commit), file.path))) === file.size
  }

  /** Whether the content of a file is there, perhaps from another commit. */
  async hasContent(file: HubFile): Promise<boolean> {
    return (await sizeOf(this.#blob(file))) === file.size
  }

  /** Gives a commit a file whose content is there. */
  async link(commit: string, file: HubFile): Promise<void> {
    const path = join(this.snapshot(commit), file.path)
    const blob = this.#blob(file)
    await inCache(path, async () => {
      await mkdir(dirname(path), { recursive: true })
      if (await this.has(commit, file)) return
      // The path may be a link that leads nowhere.
      await rm(path, { force: true })
      await symlink(relative(dirname(path), blob), path).catch(async (error: unknown) => {
        if (errorName(error) === 'EEXIST') return
        // The file system has no links.
        const copy = `${path}.${randomUUID()}`
        await copyFile(blob, copy)
        await rename(copy, path)
      })
    })
  }

  /** Checks that there is room for some bytes. */
  async checkSpace(bytes: number): Promise<void> {
    const free = await inCache(this.#blobs, async () => {
      await mkdir(this.#blobs, { recursive: true })
      const { bavail, bsize } = await statfs(this.#blobs)
      return bavail * bsize
    })
    if (free < bytes)
      throw new Problem(
        'unwritable_file',
        `${this.name.repository} needs ${megabytes(bytes)}, but the file system of ${this.#folder} has only ` +
          `${megabytes(free)} free: free space, or set HF_HUB_CACHE to a folder on another file system`,
      )
  }

  /**
   * Opens a file that only this process writes. It begins with the part that an earlier process left. Of several
   * processes one gets that part, because only one can rename it.
   */
  async openPartial(file: HubFile): Promise<PartialFile> {
    const path = `${this.#blob(file)}.${randomUUID()}.partial`
    await inCache(path, async () => {
      await mkdir(this.#blobs, { recursive: true })
      for (const other of await this.#unownedPartials(file)) {
        const isMine = await rename(other, path).then(
          () => true,
          () => false,
        )
        if (isMine) return utimes(path, new Date(), new Date())
      }
    })
    return PartialFile.open(path)
  }

  /** Partial files of a content that no running process writes. */
  async #unownedPartials(file: HubFile): Promise<string[]> {
    const blob = this.#blob(file)
    const paths = (await readdir(this.#blobs)).map((name) => join(this.#blobs, name))
    const partials = paths.filter((path) => path.startsWith(`${blob}.`) && path.endsWith('.partial'))
    const released = this.#released(file)
    const ages = await Promise.all(
      partials.map(async (path) =>
        path === released ? Number.POSITIVE_INFINITY : Date.now() - (await modified(path)),
      ),
    )
    return partials.filter((_, at) => (ages[at] ?? 0) > abandonedMs)
  }

  /** Gives a complete file its final name. */
  complete(partial: PartialFile, file: HubFile): Promise<void> {
    return partial.complete(this.#blob(file))
  }

  /** Leaves an incomplete file to the next process. */
  release(partial: PartialFile, file: HubFile): Promise<void> {
    return partial.release(this.#released(file))
  }

  get #ref(): string {
    return join(this.#folder, 'refs', this.name.revision)
  }

  get #blobs(): string {
    return join(this.#folder, 'blobs')
  }

  #blob({ hash }: HubFile): string {
    return join(this.#blobs, hash.hex)
  }

  #released(file: HubFile): string {
    return `${this.#blob(file)}.partial`
  }
}

const sizeOf = (path: string): Promise<number | undefined> =>
  stat(path).then(
    ({ size }) => size,
    () => undefined,
  )

const modified = (path: string): Promise<number> =>
  stat(path).then(
    ({ mtimeMs }) => mtimeMs,
    () => Date.now(),
  )

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`
