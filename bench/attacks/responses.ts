// Parses the responses of a connection for their status and problem code, and discards their bodies: an attacker may
// receive hundreds of megabytes, and should use little processor time for them.

/** Enough of a body to find the code of a problem. */
const keptBytes = 2_048

/** Bytes that are decoded at once while searching for the end of a head or a line. */
const windowBytes = 1_024

type Part = 'head' | 'body' | 'chunk size' | 'chunk' | 'trailer'

export class ResponseReader {
  readonly #onResponse: (outcome: string) => void
  #part: Part = 'head'
  /** The incomplete head, chunk size or trailer line. */
  #text = ''
  /** Remaining bytes of the body or chunk. */
  #left = 0
  #status = ''
  /** The first bytes of the body. */
  #bodyStart = ''

  /** @param onResponse called for each complete response with its status, and its problem code if it has one */
  constructor(onResponse: (outcome: string) => void) {
    this.#onResponse = onResponse
  }

  read(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) at = this.#readPart(bytes, at)
  }

  /** @returns the offset of the next part */
  #readPart(bytes: Buffer, at: number): number {
    switch (this.#part) {
      case 'head':
        return this.#readText(bytes, at, '\r\n\r\n', (head) => this.#readHead(head))
      case 'chunk size':
        return this.#readText(bytes, at, '\r\n', (size) => {
          this.#left = Number.parseInt(size, 16) + 2
          this.#part = this.#left === 2 ? 'trailer' : 'chunk'
        })
      case 'trailer':
        return this.#readText(bytes, at, '\r\n', (line) => {
          if (line === '') this.#end()
        })
      case 'body':
      case 'chunk': {
        const end = Math.min(bytes.length, at + this.#left)
        if (this.#bodyStart.length < keptBytes)
          this.#bodyStart += bytes.toString('latin1', at, Math.min(end, at + keptBytes - this.#bodyStart.length))
        this.#left -= end - at
        if (this.#left === 0 && this.#part === 'chunk') this.#part = 'chunk size'
        else if (this.#left === 0) this.#end()
        return end
      }
    }
  }

  #readText(bytes: Buffer, at: number, end: string, onText: (text: string) => void): number {
    const before = this.#text.length
    const until = Math.min(bytes.length, at + windowBytes)
    this.#text += bytes.toString('latin1', at, until)
    const found = this.#text.indexOf(end, Math.max(0, before - end.length))
    if (found < 0) return until
    const text = this.#text.slice(0, found)
    this.#text = ''
    onText(text)
    return at + found + end.length - before
  }

  #readHead(head: string): void {
    this.#status = head.slice(9, 12)
    // 100 Continue precedes the response.
    if (this.#status.startsWith('1')) return
    this.#bodyStart = ''
    this.#left = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0)
    if (/^transfer-encoding: chunked/im.test(head)) this.#part = 'chunk size'
    else if (this.#left > 0 && this.#status !== '304') this.#part = 'body'
    else this.#end()
  }

  #end(): void {
    this.#part = 'head'
    const code = Number(this.#status) < 400 ? undefined : /"code":"(\w+)"/.exec(this.#bodyStart)?.[1]
    this.#onResponse(code === undefined ? this.#status : `${this.#status} ${code}`)
  }
}
