// A server on this machine that speaks the API of the Hugging Face Hub: revisions, lists of files in pages, and contents.
// Large files are redirected to another origin, as on the Hub.

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after } from 'node:test'

export const commit = 'c0ffee0123456789c0ffee0123456789c0ffee01'

export interface ServedModel {
  /** organisation/name */
  readonly name: string
  readonly files: Map<string, Uint8Array>
  /** Files that are stored by their SHA-256, and redirected. */
  readonly large: ReadonlySet<string>
  /** Only this token may read the model. */
  readonly token?: string
  readonly gated?: boolean
}

/** Causes a fault. Returns true if it has responded. */
type Fault = (request: IncomingMessage, response: ServerResponse, path: string, content: Uint8Array) => boolean

export class HubServer {
  /** The paths of all requests, with the range if there is one, and whether a token came with it. */
  readonly requests: {
    readonly path: string
    readonly range: string | undefined
    readonly token: string | undefined
  }[] = []
  /** Called for the content of a file. */
  fault: Fault = () => false
  /** Called for every request, before it. */
  reject: (path: string) => number | undefined = () => undefined

  private constructor(
    readonly hub: Server,
    readonly store: Server,
    readonly model: ServedModel,
  ) {}

  static async start(model: ServedModel): Promise<HubServer> {
    const [hub, store] = [createServer(), createServer()]
    const server = new HubServer(hub, store, model)
    hub.on('request', (request, response) => server.#hub(request, response))
    store.on('request', (request, response) => server.#store(request, response))
    for (const each of [hub, store]) {
      each.listen(0, '127.0.0.1')
      await once(each, 'listening')
      after(() => server.close())
    }
    return server
  }

  close(): void {
    for (const server of [this.hub, this.store]) {
      server.close()
      server.closeAllConnections()
    }
  }

  get endpoint(): string {
    return urlOf(this.hub)
  }

  /** The paths of the contents that were requested. */
  get contents(): string[] {
    return this.requests.flatMap(({ path }) =>
      path.includes('/resolve/') ? [path.split(`/resolve/${commit}/`)[1] ?? ''] : [],
    )
  }

  #log(request: IncomingMessage): URL {
    const url = new URL(request.url ?? '', this.endpoint)
    this.requests.push({ path: url.pathname, range: request.headers.range, token: request.headers.authorization })
    return url
  }

  #hub(request: IncomingMessage, response: ServerResponse): unknown {
    const url = this.#log(request)
    const status = this.reject(url.pathname)
    if (status !== undefined) return response.writeHead(status).end()
    const { name, files, large, token, gated } = this.model
    const fail = (status: number, code: string) =>
      response.writeHead(status, { 'x-error-code': code, 'content-type': 'application/json' }).end('{"error":"no"}')
    const isAllowed = token === undefined || request.headers.authorization === `Bearer ${token}`
    const [, api, content] =
      new RegExp(`^(?:/api/models/${name}/(.*)|/${name}/resolve/${commit}/(.*))$`).exec(url.pathname) ?? []
    if (api === undefined && content === undefined) return fail(401, 'RepoNotFound')
    if (!isAllowed && gated) {
      if (content !== undefined) return fail(request.headers.authorization ? 403 : 401, 'GatedRepo')
    } else if (!isAllowed) return fail(401, 'RepoNotFound')
    if (api?.startsWith('revision/')) {
      const revision = decodeURIComponent(api.slice('revision/'.length))
      if (!['main', 'v1', 'refs/pr/3', commit].includes(revision)) return fail(404, 'RevisionNotFound')
      return json(response, { _id: '1', id: name, sha: commit, private: false, downloads: 0, likes: 0, gated: false })
    }
    if (api === `tree/${commit}`) {
      const all = [...files].map(([path, bytes]) => entryOf(path, bytes, large.has(path)))
      const page = Number(url.searchParams.get('page') ?? 0)
      const next = new URL(url)
      next.searchParams.set('page', String(page + 1))
      const perPage = 3
      if (all.length > (page + 1) * perPage) response.setHeader('link', `<${next}>; rel="next"`)
      return json(response, all.slice(page * perPage, (page + 1) * perPage))
    }
    const path = decodeURIComponent(content ?? '')
    const bytes = files.get(path)
    if (bytes === undefined) return fail(404, 'EntryNotFound')
    if (large.has(path)) {
      return response.writeHead(302, { location: `${urlOf(this.store)}/${path}` }).end()
    }
    return this.#send(request, response, path, bytes)
  }

  #store(request: IncomingMessage, response: ServerResponse): void {
    const path = decodeURIComponent(this.#log(request).pathname.slice(1))
    this.#send(request, response, path, this.model.files.get(path) ?? assert.fail(`no file ${path}`))
  }

  #send(request: IncomingMessage, response: ServerResponse, path: string, bytes: Uint8Array): void {
    if (this.fault(request, response, path, bytes)) return
    sendContent(request, response, bytes)
  }
}

/** Sends a file, or the range of it that the request names. */
export function sendContent({ headers }: IncomingMessage, response: ServerResponse, bytes: Uint8Array): unknown {
  const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? '') ?? []
  if (first === undefined) return response.writeHead(200, { 'content-length': bytes.length }).end(bytes)
  const part = bytes.subarray(Number(first), last ? Number(last) + 1 : bytes.length)
  const range = `bytes ${first}-${Number(first) + part.length - 1}/${bytes.length}`
  return response.writeHead(206, { 'content-length': part.length, 'content-range': range }).end(part)
}

const urlOf = (server: Server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`

const json = (response: ServerResponse, value: unknown) =>
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value))

export const sha256Of = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
export const gitIdOf = (bytes: Uint8Array): string =>
  createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')

function entryOf(path: string, bytes: Uint8Array, isLarge: boolean): object {
  const pointer = Buffer.from(`version https://git-lfs.github.com/spec/v1\noid sha256:${sha256Of(bytes)}\n`)
  const entry = { type: 'file', path, size: bytes.length }
  return isLarge
    ? {
        ...entry,
        oid: gitIdOf(pointer),
        lfs: { oid: sha256Of(bytes), size: bytes.length, pointerSize: pointer.length },
      }
    : { ...entry, oid: gitIdOf(bytes) }
}

/** The files of a directory, and of its folders. */
export async function filesIn(directory: string): Promise<Map<string, Uint8Array>> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  const files = new Map<string, Uint8Array>()
  for (const entry of entries.filter((each) => each.isFile())) {
    const path = join(entry.parentPath, entry.name)
    files.set(path.slice(directory.length + 1), await readFile(path))
  }
  return files
}
