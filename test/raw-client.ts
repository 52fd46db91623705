// A client on a plain socket: it sends any bytes, and collects the responses.

import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { after } from 'node:test'

const open = new Set<Socket>()
after(() => {
  for (const socket of open) socket.destroy()
})

export interface RawResponse {
  readonly status: number
  readonly headers: string
  readonly body: string
}

export class RawClient {
  readonly socket: Socket
  #received = ''

  /** The client's side stays open when the server has closed its own. */
  constructor(url: string) {
    this.socket = connect({ port: Number(new URL(url).port), host: '127.0.0.1', allowHalfOpen: true })
    open.add(this.socket)
    this.socket.on('data', (piece) => {
      this.#received += piece.toString('latin1')
    })
    // A connection may be reset while the client sends. `responses` shows what was received.
    this.socket.on('error', () => {})
    this.socket.once('close', () => open.delete(this.socket))
  }

  send(bytes: string | Uint8Array): this {
    if (this.socket.writable) this.socket.write(bytes)
    return this
  }

  /** The first `count` responses, once they are complete. */
  async first(count: number): Promise<readonly RawResponse[]> {
    for (;;) {
      const responses = parseResponses(this.#received)
      if (responses.length >= count && isWhole(responses.at(-1))) return responses.slice(0, count)
      await once(this.socket, 'data')
    }
  }

  /** All responses, once the server has closed its side. */
  async responses(): Promise<readonly RawResponse[]> {
    if (!this.socket.readableEnded && !this.socket.closed)
      await Promise.race([once(this.socket, 'end'), once(this.socket, 'close')])
    return parseResponses(this.#received)
  }
}

const lengthOf = (headers: string) => Number(/^content-length: (\d+)/im.exec(headers)?.[1] ?? 0)
const isWhole = (response: RawResponse | undefined) =>
  response === undefined || Buffer.byteLength(response.body) >= lengthOf(response.headers)

/** Parses responses with a Content-Length. A 1xx response counts as one, too. The last one may be truncated. */
function parseResponses(text: string): RawResponse[] {
  const responses: RawResponse[] = []
  for (let rest = text; rest.includes('\r\n\r\n'); ) {
    const end = rest.indexOf('\r\n\r\n') + 4
    const headers = rest.slice(0, end)
    const length = lengthOf(headers)
    const status = Number(/^HTTP\/1\.1 (\d+)/.exec(headers)?.[1])
    responses.push({ status, headers, body: Buffer.from(rest.slice(end, end + length), 'latin1').toString() })
    rest = rest.slice(end + length)
  }
  return responses
}

/** The bytes of a request. */
export function request(
  method: string,
  path: string,
  body = '',
  headers: Readonly<Record<string, string>> = {},
): string {
  const length =
    body === '' ? {} : { 'content-type': 'application/json', 'content-length': `${Buffer.byteLength(body)}` }
  const lines = Object.entries({ host: 'localhost', ...length, ...headers }).map(([name, value]) => `${name}: ${value}`)
  return [`${method} ${path} HTTP/1.1`, ...lines, '', body].join('\r\n')
}
