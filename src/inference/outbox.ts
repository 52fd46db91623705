// The messages that wait to be sent to a peer. All messages of one turn of the event loop are written together, because a
// write costs as much as several messages. While the peer reads slowly, arrays wait here and are not copied.

import type { Duplex } from 'node:stream'
import { afterRunning } from '../running-time.js'
import { encodePacket, type Message, type PreparedMessage, prepareMessage } from './packets.js'

/** A packet ends with the message that reaches this size, in bytes. It bounds the copy of what waits. */
const packetBytes = 2 ** 20

const sizeOf = ({ json, arrayBytes }: PreparedMessage) => json.length + arrayBytes

export interface OutboxOptions {
  /** The peer is given up if it reads nothing for this long, in milliseconds in which this process runs. */
  readonly stallMs: number
  readonly onStalled: () => void
  /** Called before the messages of a turn are written. It may add messages. */
  readonly beforeWriting: () => void
  /** Called after packets were written. */
  readonly onWritten: () => void
}

export class Outbox {
  readonly #stream: Duplex
  readonly #options: OutboxOptions
  #messages: PreparedMessage[] = []
  #bytes = 0
  #planned: NodeJS.Immediate | undefined
  /** While the stream has no room: stops the timer of a stalled peer. */
  #stopTimer: (() => void) | undefined

  constructor(stream: Duplex, options: OutboxOptions) {
    this.#stream = stream
    this.#options = options
    stream.on('drain', () => {
      this.#stopTimer?.()
      this.#stopTimer = undefined
      this.#write()
    })
  }

  /** Bytes that wait here and in the stream, approximately. */
  get bytes(): number {
    return this.#bytes + this.#stream.writableLength
  }

  /** @throws Error if the message is too large */
  add(message: Message): void {
    const prepared = prepareMessage(message)
    this.#messages.push(prepared)
    this.#bytes += sizeOf(prepared)
    if (this.#stopTimer !== undefined) return
    this.#planned ??= setImmediate(() => {
      this.#options.beforeWriting()
      this.#planned = undefined
      this.#write()
    })
  }

  /** Forgets what waits. */
  discard(): void {
    clearImmediate(this.#planned)
    this.#stopTimer?.()
    this.#messages = []
    this.#bytes = 0
  }

  /** Writes packets until the stream has no room. */
  #write(): void {
    while (this.#messages.length > 0 && this.#stopTimer === undefined) {
      let bytes = 0
      let count = 0
      for (const message of this.#messages) {
        if (bytes >= packetBytes) break
        bytes += sizeOf(message)
        count++
      }
      const packet = encodePacket(this.#messages.splice(0, count))
      this.#bytes -= bytes
      if (!this.#stream.write(packet)) this.#stopTimer = afterRunning(this.#options.stallMs, this.#options.onStalled)
    }
    this.#options.onWritten()
  }
}
