// A minimal HTTP client. The load shares the machine with the server, so a request is a string that is written to a
// socket, and a response is searched only for its status and body.

import { connect, type Socket } from 'node:net'

export interface PostRequest {
  readonly path: string
  /** JSON. */
  readonly body: string
}

export function requestText(
  host: string,
  { path, body }: PostRequest,
  headers: Readonly<Record<string, string>> = {},
): string {
  const more = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  const length = Buffer.byteLength(body)
  return `POST ${path} HTTP/1.1\r\nhost: ${host}\r\ncontent-type: application/json\r\n${more.join('')}content-length: ${length}\r\n\r\n${body}`
}

export interface ReceivedResponse {
  /** The HTTP status, or the error of the socket if no response arrived. */
  readonly status: string
  readonly body: string
}

/** A connection that carries one request at a time. */
export class Connection {
  readonly #socket: Socket
  #received = ''
  #onResponse: (response: ReceivedResponse) => void = () => {}

  constructor(host: string, port: number) {
    this.#socket = connect({ host, port, noDelay: true })
    this.#socket.setEncoding('latin1')
    this.#socket.on('data', (text: string) => this.#receive(text))
    this.#socket.on('error', (error: Error) => this.#onResponse({ status: error.message, body: '' }))
    this.#socket.on('close', () => this.#onResponse({ status: 'closed', body: '' }))
  }

  send(request: string): Promise<ReceivedResponse> {
    return new Promise((resolve) => {
      this.#onResponse = resolve
      if (this.#socket.destroyed) resolve({ status: 'closed', body: '' })
      else this.#socket.write(request)
    })
  }

  close(): void {
    this.#socket.destroy()
  }

  #receive(text: string): void {
    this.#received += text
    const head = this.#received.indexOf('\r\n\r\n')
    if (head < 0) return
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(this.#received)?.[1] ?? 0)
    if (this.#received.length < head + 4 + length) return
    const response = { status: this.#received.slice(9, 12), body: this.#received.slice(head + 4) }
    this.#received = ''
    this.#onResponse(response)
  }
}
