// What an attack is prepared on: the server's address, the keys of those who send, requests as bytes, and uploads.

import type { Sender } from './attack.js'

export type Keys = Readonly<Record<Exclude<Sender, 'stranger'>, string>>

export interface RequestParts {
  readonly body?: string | Buffer
  readonly headers?: Readonly<Record<string, string>>
  /** In place of the body's own length; null for none. */
  readonly contentLength?: number | null
}

export class Stage {
  /** How uploads of the preparation were answered, and how often. */
  readonly uploads: Record<string, number> = {}

  constructor(
    readonly url: string,
    readonly keys: Keys,
    readonly by: Sender,
  ) {}

  /** A request of the attack's sender. */
  request(method: string, path: string, { body, headers = {}, contentLength }: RequestParts = {}): Buffer {
    const bytes = Buffer.from(body ?? '')
    const length = contentLength === undefined && body !== undefined ? bytes.length : contentLength
    const lines = Object.entries({
      host: new URL(this.url).host,
      ...(this.by !== 'stranger' && { authorization: `Bearer ${this.keys[this.by]}` }),
      ...headers,
      ...(typeof length === 'number' && { 'content-length': String(length) }),
    }).map(([name, value]) => `${name}: ${value}\r\n`)
    return Buffer.concat([Buffer.from(`${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n`), bytes])
  }

  get(path: string, headers: Readonly<Record<string, string>> = {}): Buffer {
    return this.request('GET', path, { headers })
  }

  /** @param body JSON, or what becomes it */
  post(path: string, body: object | string, headers: Readonly<Record<string, string>> = {}): Buffer {
    const text = typeof body === 'string' ? body : JSON.stringify(body)
    return this.request('POST', path, { body: text, headers: { 'content-type': 'application/json', ...headers } })
  }

  put(id: string, file: Buffer): Buffer {
    return this.request('PUT', `/tasks/${id}`, { body: file, headers: { 'content-type': octets } })
  }

  /** Uploads a task of the tenant without limits. @returns whether it was taken */
  async upload(id: string, file: Buffer<ArrayBuffer>): Promise<boolean> {
    let outcome = 'closed'
    try {
      const answer = await fetch(`${this.url}/tasks/${id}`, {
        method: 'PUT',
        headers: { authorization: `Bearer ${this.keys.tenant}`, 'content-type': octets },
        body: file,
      })
      const code = answer.ok ? '' : ` ${((await answer.json()) as { code?: string }).code}`
      outcome = `${answer.status}${code}`
    } catch {
      // A server that does not want the body closes the connection while it is sent; or it has ended.
    }
    this.uploads[outcome] = (this.uploads[outcome] ?? 0) + 1
    return outcome.startsWith('2')
  }

  /** Uploads the largest file that the server takes. @param sizes descending @returns the size it took; the last if none */
  async uploadLargest(
    id: string,
    sizes: readonly number[],
    file: (size: number) => Buffer<ArrayBuffer>,
  ): Promise<number> {
    for (const size of sizes) if (await this.upload(id, file(size))) return size
    return sizes.at(-1) ?? 0
  }
}

const octets = 'application/octet-stream'
