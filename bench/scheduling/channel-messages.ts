// The messages of the channel benchmark, over the transports that it compares. Each transport writes the messages of one turn
// of the event loop together.

import type { Duplex } from 'node:stream'
import { encodePacket, PacketReader, prepareMessage, type Values } from '../../src/inference/packets.js'

/** A text with its tokens on the way up, or its vector on the way down. */
export type TextMessage = readonly [id: number, body: unknown, arrays: readonly Values[]]

/** Sends a message at the end of the turn. */
export type Exchange = (message: TextMessage) => void

/** Collects the messages of a turn. */
export function byTurn(sendAll: (messages: readonly TextMessage[]) => void): Exchange {
  let waiting: TextMessage[] = []
  return (message) => {
    if (waiting.push(message) > 1) return
    setImmediate(() => {
      const messages = waiting
      waiting = []
      sendAll(messages)
    })
  }
}

/** Messages in packets over a socket. */
export function packetExchange(stream: Duplex, receive: (message: TextMessage) => void): Exchange {
  const reader = new PacketReader()
  stream.on('data', (chunk: Buffer) => {
    for (const { head, arrays } of reader.read(chunk)) {
      const [id, body] = head as [number, unknown]
      receive([id, body, arrays])
    }
  })
  return byTurn((messages) => {
    stream.write(encodePacket(messages.map(([id, body, arrays]) => prepareMessage({ head: [id, body], arrays }))))
  })
}
