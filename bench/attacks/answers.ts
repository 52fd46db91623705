// Reads the answers of a connection for their status and problem code, and keeps nothing of their bodies: an attacker may
// get hundreds of megabytes, and should spend little on them.

/** Enough of a body to find a problem's code in. */
const keptBytes = 2_048

/** As much is made text at once where a head or a line is looked for. */
const windowBytes = 1_024

type Part = 'head' | 'body' | 'chunk size' | 'chunk' | 'trailer'

export class AnswerReader {
  readonly #answered: (outcome: string) => void
  #part: Part = 'head'
  /** The head, chunk size or trailer line that has not come whole. */
  #text = ''
  /** Bytes of the body or chunk that are still to come. */
  #left = 0
  #status = ''
  #start = ''

  /** @param answered called for each answer that has come whole, with its status and, where it has one, its code */
  constructor(answered: (outcome: string) => void) {
    this.#answered = answered
  }

  read(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) at = this.#readPart(bytes, at)
  }

  /** @returns where the next part begins */
  #readPart(bytes: Buffer, at: number): number {
    switch (this.#part) {
      case 'head':
        return this.#readText(bytes, at, '\r\n\r\n', (head) => this.#begin(head))
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
        if (this.#start.length < keptBytes)
          this.#start += bytes.toString('latin1', at, Math.min(end, at + keptBytes - this.#start.length))
        this.#left -= end - at
        if (this.#left === 0 && this.#part === 'chunk') this.#part = 'chunk size'
        else if (this.#left === 0) this.#end()
        return end
      }
    }
  }

  #readText(bytes: Buffer, at: number, end: string, whole: (text: string) => void): number {
    const before = this.#text.length
    const until = Math.min(bytes.length, at + windowBytes)
    this.#text += bytes.toString('latin1', at, until)
    const found = this.#text.indexOf(end, Math.max(0, before - end.length))
    if (found < 0) return until
    const text = this.#text.slice(0, found)
    this.#text = ''
    whole(text)
    return at + found + end.length - before
  }

  #begin(head: string): void {
    this.#status = head.slice(9, 12)
    // 100 Continue comes before the answer.
    if (this.#status.startsWith('1')) return
    this.#start = ''
    this.#left = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0)
    if (/^transfer-encoding: chunked/im.test(head)) this.#part = 'chunk size'
    else if (this.#left > 0 && this.#status !== '304') this.#part = 'body'
    else this.#end()
  }

  #end(): void {
    this.#part = 'head'
    const code = Number(this.#status) < 400 ? undefined : /"code":"(\w+)"/.exec(this.#start)?.[1]
    this.#answered(code === undefined ? this.#status : `${this.#status} ${code}`)
  }
}
