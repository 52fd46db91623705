// A client that costs little: load and server share a machine, so a request is a text that is written to a socket, and its
// answer is searched for what matters.

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

export interface Answer {
  /** Of HTTP; what went wrong with the socket in its place, if no answer came. */
  readonly status: string
  readonly body: string
}

/** One request at a time, over one socket. */
export class Connection {
  readonly #socket: Socket
  #received = ''
  #answered: (answer: Answer) => void = () => {}

  constructor(host: string, port: number) {
    this.#socket = connect({ host, port, noDelay: true })
    this.#socket.setEncoding('latin1')
    this.#socket.on('data', (text: string) => this.#receive(text))
    this.#socket.on('error', (error: Error) => this.#answered({ status: error.message, body: '' }))
    this.#socket.on('close', () => this.#answered({ status: 'closed', body: '' }))
  }

  ask(request: string): Promise<Answer> {
    return new Promise((resolve) => {
      this.#answered = resolve
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
    const answer = { status: this.#received.slice(9, 12), body: this.#received.slice(head + 4) }
    this.#received = ''
    this.#answered(answer)
  }
}
