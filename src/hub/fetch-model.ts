// Makes a model of the Hugging Face Hub available in the local cache. Only the files that the server needs are downloaded,
// and each is compared with its hash. An interrupted download continues where it stopped.

import { readdir } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { Problem } from '../problem.js'
import { HubCache } from './hub-cache.js'
import { HubClient, type HubFile, RangeIgnored, TransientFailure } from './hub-client.js'
import type { HubName } from './hub-name.js'
import { type HubSettings, readHubSettings } from './hub-settings.js'
import { neededFiles } from './needed-files.js'
import type { PartialFile } from './partial-file.js'

export interface DownloadProgress {
  /** In bytes, like `total`. Parts of earlier downloads are included. */
  readonly done: number
  readonly total: number
}

export interface FetchOptions {
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: (progress: DownloadProgress) => void
  readonly onWarning?: (message: string) => void
  readonly settings?: HubSettings
  /** Pause before the second attempt, in milliseconds. It doubles with each further one. */
  readonly retryMs?: number
}

/** Attempts in succession that bring nothing. */
const maxAttempts = 5

/**
 * @returns the directory of the model, in the layout of a Hugging Face directory
 * @throws Problem `invalid_setting` if there is no such model or it may not be read, `download_failed`,
 *   `unwritable_file`, `invalid_backbone` if the model lacks a file; `shutting_down` after the signal
 */
export async function fetchModel(name: HubName, options: FetchOptions = {}): Promise<string> {
  const settings = options.settings ?? readHubSettings()
  const cache = new HubCache(settings.cache, name)
  if (settings.offline) return (await cachedModel(cache, name)) ?? throwNotCached(name, settings)
  const client = new HubClient(name, settings, options.signal)
  const attempts = { ...options, attempts: (await cachedModel(cache, name)) === undefined ? maxAttempts : 1 }
  try {
    const commit = await retrying(attempts, () => client.commit())
    const files = await retrying(attempts, () => client.files(commit))
    return await new Download(client, cache, commit, files, options).run()
  } catch (error) {
    if (!(error instanceof TransientFailure)) throw error
    const cached = await cachedModel(cache, name)
    if (cached === undefined) throw unreachable(name, error)
    options.onWarning?.(`${error.message}; using the copy of ${name.repository} in the cache, which may be older`)
    return cached
  }
}

/** The directory of a complete model in the cache. */
async function cachedModel(cache: HubCache, name: HubName): Promise<string | undefined> {
  const commit = await cache.knownCommit()
  if (commit === undefined) return undefined
  const directory = cache.snapshot(commit)
  const paths = await readdir(directory, { recursive: true }).catch(() => [])
  try {
    await neededFiles(new Set(paths), directory, name.repository, async () => {})
    return directory
  } catch (error) {
    if (error instanceof Problem) return undefined
    throw error
  }
}

function throwNotCached({ repository, revision }: HubName, { cache }: HubSettings): never {
  throw new Problem(
    'invalid_setting',
    `HF_HUB_OFFLINE is set, but ${cache} has no complete copy of ${repository}, revision ${revision}: ` +
      'start once without HF_HUB_OFFLINE, or name a local directory',
  )
}

const unreachable = ({ repository }: HubName, { message }: TransientFailure) =>
  new Problem(
    'download_failed',
    `${repository} could not be downloaded: ${message}. Check the network, its proxy and HF_ENDPOINT, and start again; ` +
      'a download continues where it stopped.',
  )

/**
 * Repeats `work` after failures that may pass.
 * @param hasProgressed whether the last attempt brought something; it then does not count
 */
async function retrying<T>(
  { signal, retryMs = 1_000, attempts }: Pick<FetchOptions, 'signal' | 'retryMs'> & { readonly attempts: number },
  work: () => Promise<T>,
  hasProgressed = () => false,
): Promise<T> {
  for (let failures = 1; ; failures++) {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof TransientFailure)) throw error
      if (hasProgressed()) failures = 1
      if (failures >= attempts) throw error
      await delay(retryMs * 2 ** (failures - 1), undefined, { signal }).catch(() => {
        throw new Problem('shutting_down', 'the download was interrupted')
      })
    }
  }
}

/** The download of one commit. */
class Download {
  #done = 0
  #total = 0

  constructor(
    readonly client: HubClient,
    readonly cache: HubCache,
    readonly commit: string,
    readonly files: ReadonlyMap<string, HubFile>,
    readonly options: FetchOptions,
  ) {}

  async run(): Promise<string> {
    const { cache, commit, files } = this
    const directory = cache.snapshot(commit)
    const obtain = (path: string) => this.#obtain(path)
    const needed = await neededFiles(new Set(files.keys()), directory, this.client.name.repository, obtain)
    const missing: HubFile[] = []
    for (const file of needed.map((path) => this.#file(path)))
      if (!(await cache.has(commit, file)) && !(await cache.hasContent(file))) missing.push(file)
    this.#done = 0
    this.#total = missing.reduce((sum, { size }) => sum + size, 0)
    await cache.checkSpace(this.#total)
    for (const file of missing) await this.#download(file)
    // The links come last, in the order of `needed`: a directory with weights is complete.
    for (const path of needed) await cache.link(commit, this.#file(path))
    await cache.setCommit(commit)
    return directory
  }

  async #obtain(path: string): Promise<void> {
    const file = this.#file(path)
    if (await this.cache.has(this.commit, file)) return
    if (!(await this.cache.hasContent(file))) await this.#download(file)
    await this.cache.link(this.commit, file)
  }

  #file(path: string): HubFile {
    const file = this.files.get(path)
    if (file === undefined) throw new Error(`${path} is not among the files of the repository`)
    return file
  }

  async #download(file: HubFile): Promise<void> {
    const { cache, client, options } = this
    const partial = await cache.openPartial(file)
    const before = this.#done
    const report = () => {
      this.#done = before + partial.size
      if (this.#total > 0) options.onProgress?.({ done: this.#done, total: this.#total })
    }
    let sizeAtStart = partial.size
    let isDamaged = false
    const receive = async () => {
      sizeAtStart = partial.size
      if (partial.size > file.size) await partial.clear()
      if (partial.size < file.size) await this.#receive(file, partial, report)
      if (partial.size < file.size) throw new TransientFailure(`${file.path} ended after ${partial.size} bytes`)
      if (partial.size === file.size && (await partial.has(file.hash))) return
      await partial.clear()
      if (isDamaged) throw damaged(client, file)
      isDamaged = true
      throw new TransientFailure(`${file.path} has other bytes than the Hub lists`)
    }
    try {
      await retrying({ ...options, attempts: maxAttempts }, receive, () => partial.size > sizeAtStart)
      await cache.complete(partial, file)
      report()
    } catch (error) {
      await cache.release(partial, file)
      throw error instanceof TransientFailure ? unreachable(client.name, error) : error
    }
  }

  /** Appends what is missing. */
  async #receive(file: HubFile, partial: PartialFile, report: () => void): Promise<void> {
    try {
      for await (const bytes of this.client.read(this.commit, file, partial.size)) {
        await partial.append(bytes)
        report()
        if (partial.size > file.size) return
      }
    } catch (error) {
      if (error instanceof RangeIgnored) await partial.clear()
      throw error
    }
  }
}

const damaged = ({ name, settings }: HubClient, { path, size, hash }: HubFile) =>
  new Problem(
    'download_failed',
    `${path} of ${name.repository} arrived twice with other bytes than ${settings.endpoint} lists (${size} bytes, ` +
      `${hash.kind === 'sha256' ? 'SHA-256' : 'Git id'} ${hash.hex}). Something between here and the Hub changes it: check the proxy and HF_ENDPOINT.`,
  )
