// Requests to the Hugging Face Hub for one model. @huggingface/hub makes the requests; this adds the token, time limits,
// and errors that say what to do.

import { downloadFile, listFiles, modelInfo } from '@huggingface/hub'
import { version } from '../package.js'
import { Problem, quoted, reasonOf } from '../problem.js'
import type { HubName } from './hub-name.js'
import type { HubSettings } from './hub-settings.js'

/** A failure that another attempt may not have: of the network, or of the Hub. */
export class TransientFailure extends Error {}

/** The server sent the whole file instead of its end. */
export class RangeIgnored extends TransientFailure {}

export interface HubFile {
  readonly path: string
  /** In bytes. */
  readonly size: number
  readonly hash: HubHash
}

/** The hash of a large file is the SHA-256 of its bytes. That of a small file is its Git object id. */
export interface HubHash {
  readonly kind: 'sha256' | 'git'
  readonly hex: string
}

/** A server that sends nothing for this long counts as unreachable. */
const silenceMs = 30_000
const maxFiles = 100_000

export class HubClient {
  constructor(
    readonly name: HubName,
    readonly settings: HubSettings,
    readonly signal: AbortSignal | undefined,
  ) {}

  /** The commit that the revision names now. @throws Problem `invalid_setting`; TransientFailure */
  async commit(): Promise<string> {
    const { repository, revision } = this.name
    const { sha } = await this.#request((request) =>
      modelInfo({ name: repository, revision, additionalFields: ['sha'], ...request }),
    )
    if (!/^[0-9a-f]{40}$/.test(sha)) throw this.#invalid(`the commit ${quoted(String(sha))}`)
    return sha
  }

  /** The files of a commit, by their paths. @throws Problem; TransientFailure */
  async files(commit: string): Promise<Map<string, HubFile>> {
    return this.#request(async (request) => {
      const files = new Map<string, HubFile>()
      const repo = { type: 'model', name: this.name.repository } as const
      for await (const { type, path, size, oid, lfs } of listFiles({
        repo,
        revision: commit,
        recursive: true,
        ...request,
      })) {
        if (type !== 'file') continue
        const hash: HubHash = lfs ? { kind: 'sha256', hex: lfs.oid } : { kind: 'git', hex: oid ?? '' }
        if (!/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(hash.hex) || !Number.isSafeInteger(size))
          throw this.#invalid(`the hash ${quoted(hash.hex)} or the size of ${quoted(path)}`)
        files.set(path, { path, size, hash })
        if (files.size > maxFiles) throw this.#invalid(`more than ${maxFiles} files`)
      }
      return files
    })
  }

  /**
   * Reads a file from a position to its end.
   * @throws Problem; TransientFailure; RangeIgnored
   */
  async *read(commit: string, { path, size, hash }: HubFile, from: number): AsyncGenerator<Uint8Array> {
    const { repository } = this.name
    const { endpoint } = this.settings
    const url = `${endpoint}/${repository}/resolve/${commit}/${path.split('/').map(encodeURIComponent).join('/')}`
    const limit = new SilenceLimit(this.signal)
    const requests = this.#fetch(limit)
    try {
      const repo = { type: 'model', name: repository } as const
      // Xet, the other protocol, gives no bytes that could be resumed, and mirrors do not have it.
      const blob = await downloadFile({
        repo,
        path,
        xet: false,
        downloadInfo: { url, size, etag: hash.hex },
        fetch: requests.fetch,
      })
      if (blob === null) throw new TransientFailure(`${url} has no content`)
      for await (const bytes of blob.slice(from).stream()) {
        limit.restart()
        yield bytes
      }
    } catch (error) {
      throw requests.failure ?? this.#failure(error, limit)
    } finally {
      limit.end()
    }
  }

  async #request<T>(work: (request: { hubUrl: string; fetch: typeof fetch }) => Promise<T>): Promise<T> {
    const limit = new SilenceLimit(this.signal)
    const requests = this.#fetch(limit)
    try {
      return await work({ hubUrl: this.settings.endpoint, fetch: requests.fetch })
    } catch (error) {
      throw requests.failure ?? this.#failure(error, limit)
    } finally {
      limit.end()
    }
  }

  /** A fetch for the library, which loses the cause of some errors: `failure` is the last one. */
  #fetch(limit: SilenceLimit): { readonly fetch: typeof fetch; failure: Error | undefined } {
    const requests: { fetch: typeof fetch; failure: Error | undefined } = {
      failure: undefined,
      fetch: async (input, init = {}) => {
        try {
          return await this.#send(new URL(String(input)), init, limit)
        } catch (error) {
          requests.failure = this.#failure(error, limit)
          throw error
        }
      },
    }
    return requests
  }

  async #send(url: URL, init: RequestInit, limit: SilenceLimit): Promise<Response> {
    const { token, endpoint } = this.settings
    const headers = new Headers(init.headers)
    headers.set('user-agent', `propetl/${version}`)
    // Only the Hub itself gets the token. Redirects to another host lose it.
    if (token !== undefined && url.origin === new URL(endpoint).origin) headers.set('authorization', `Bearer ${token}`)
    // A compressed part of a file could not be resumed.
    headers.set('accept-encoding', 'identity')
    const response = await fetch(url, { ...init, headers, signal: limit.signal })
    limit.restart()
    if (!response.ok) {
      await response.body?.cancel()
      throw this.#rejection(response)
    }
    const range = headers.get('range')
    if (range !== null && !response.headers.get('content-range')?.startsWith(range.replace('=', ' '))) {
      await response.body?.cancel()
      throw new RangeIgnored(`${url.host} ignored the range ${range}`)
    }
    return response
  }

  /** The failure of a request, with the cause in its message. */
  #failure(error: unknown, { expired }: SilenceLimit): Error {
    if (error instanceof Problem || error instanceof TransientFailure) return error
    if (this.signal?.aborted) return new Problem('shutting_down', 'the download was interrupted')
    const { host } = new URL(this.settings.endpoint)
    if (expired) return new TransientFailure(`${host} sent nothing for ${silenceMs / 1000} s`)
    const { cause } = error as Error
    return new TransientFailure(`${host} cannot be reached or sent an invalid response: ${reasonOf(cause ?? error)}`)
  }

  #rejection({ status, headers }: Response): Error {
    const { repository, revision } = this.name
    const { endpoint, token } = this.settings
    const problem = (message: string) => new Problem('invalid_setting', message)
    const reason = headers.get('x-error-code')
    if (reason === 'GatedRepo' || status === 403)
      return problem(
        `access to ${repository} is restricted: accept its conditions at ${endpoint}/${repository}, and set HF_TOKEN to a token of that account`,
      )
    if (reason === 'RevisionNotFound')
      return problem(`${repository} has no revision ${quoted(revision)}; expected a branch, a tag or a commit`)
    if (status === 401 && token !== undefined)
      return problem(
        `${endpoint} has no model ${repository} that the token may read: check the name; if the model is private, check HF_TOKEN`,
      )
    if (status === 401 || status === 404)
      return problem(
        `there is no directory ${repository}, and ${endpoint} has no public model of that name: check the name; if the model is private, set HF_TOKEN`,
      )
    if (status === 429 || status >= 500)
      return new TransientFailure(`${new URL(endpoint).host} responded with ${status}`)
    return new Problem('download_failed', `${endpoint} responded with ${status} to a request for ${repository}`)
  }

  #invalid(what: string): Problem {
    return new Problem('download_failed', `${this.settings.endpoint} sent an invalid response: ${what}`)
  }
}

/** Aborts requests after a time without a byte. */
class SilenceLimit {
  readonly #silence = new AbortController()
  readonly #timer = setTimeout(() => this.#silence.abort(), silenceMs)
  readonly signal: AbortSignal

  constructor(signal: AbortSignal | undefined) {
    this.signal = signal ? AbortSignal.any([signal, this.#silence.signal]) : this.#silence.signal
  }

  get expired(): boolean {
    return this.#silence.signal.aborted
  }

  restart(): void {
    this.#timer.refresh()
  }

  end(): void {
    clearTimeout(this.#timer)
  }
}
