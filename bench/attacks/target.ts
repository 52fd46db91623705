// The server under attack: its address and keys, requests to it as bytes, and uploads.

/** A tenant without limits, a tenant with low rate limits and a small quota, a client with the metrics key, no key. */
export type Sender = 'tenant' | 'limited' | 'scraper' | 'anonymous'

export type Keys = Readonly<Record<Exclude<Sender, 'anonymous'>, string>>

export interface RequestParts {
  readonly body?: string | Buffer
  readonly headers?: Readonly<Record<string, string>>
  /** Overrides the length of the body; null omits the header. */
  readonly contentLength?: number | null
}

export class AttackTarget {
  /** Number of uploads by outcome. */
  readonly uploads: Record<string, number> = {}

  constructor(
    readonly url: string,
    readonly keys: Keys,
    readonly by: Sender,
  ) {}

  /** A request with the key of the attack's sender. */
  request(method: string, path: string, { body, headers = {}, contentLength }: RequestParts = {}): Buffer {
    const bytes = Buffer.from(body ?? '')
    const length = contentLength === undefined && body !== undefined ? bytes.length : contentLength
    const lines = Object.entries({
      host: new URL(this.url).host,
      ...(this.by !== 'anonymous' && { authorization: `Bearer ${this.keys[this.by]}` }),
      ...headers,
      ...(typeof length === 'number' && { 'content-length': String(length) }),
    }).map(([name, value]) => `${name}: ${value}\r\n`)
    return Buffer.concat([Buffer.from(`${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n`), bytes])
  }

  get(path: string, headers: Readonly<Record<string, string>> = {}): Buffer {
    return this.request('GET', path, { headers })
  }

  /** @param body JSON, or a value to serialise */
  post(path: string, body: object | string, headers: Readonly<Record<string, string>> = {}): Buffer {
    const text = typeof body === 'string' ? body : JSON.stringify(body)
    return this.request('POST', path, { body: text, headers: { 'content-type': 'application/json', ...headers } })
  }

  put(id: string, file: Buffer): Buffer {
    return this.request('PUT', `/tasks/${id}`, { body: file, headers: { 'content-type': octets } })
  }

  /** Uploads a task as the tenant without limits. @returns whether the server accepted it */
  async upload(id: string, file: Buffer<ArrayBuffer>): Promise<boolean> {
    let outcome = 'closed'
    try {
      const response = await fetch(`${this.url}/tasks/${id}`, {
        method: 'PUT',
        headers: { authorization: `Bearer ${this.keys.tenant}`, 'content-type': octets },
        body: file,
      })
      const code = response.ok ? '' : ` ${((await response.json()) as { code?: string }).code}`
      outcome = `${response.status}${code}`
    } catch {
      // The server closed the connection while the body was sent, or has exited.
    }
    this.uploads[outcome] = (this.uploads[outcome] ?? 0) + 1
    return outcome.startsWith('2')
  }

  /**
   * Uploads the largest file that the server accepts.
   * @param sizes in descending order
   * @returns the accepted size, or the last one if none was accepted
   */
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
