// Messages as bytes. A packet has the messages that a process sends in one turn of its event loop: their heads as one JSON
// text, followed by the elements of their arrays. Both processes run on one machine, so the byte order is that of the machine.
//
//   u32 bytes of JSON · u32 bytes of arrays · JSON, padded to 4 bytes · arrays, each padded to 4 bytes
//
// The JSON is a list with one item per message: [head, [type, length, type, length, …]].

import { MalformedMessage } from './malformed-message.js'

export type Values = Int32Array | Float32Array | Uint8Array

export interface Message {
  /** A value that JSON can express. */
  readonly head: unknown
  readonly arrays: readonly Values[]
}

/** The types of arrays. Their numbers in a packet are their places in this list. */
const arrayTypes = [Int32Array, Float32Array, Uint8Array] as const

const prefixBytes = 8
/** The largest packet that is accepted. */
const maxPacketBytes = 2 ** 29
/** The largest message that is sent. A packet may have one of them and smaller ones before it. */
const maxMessageBytes = 2 ** 28

const padded = (bytes: number) => Math.ceil(bytes / 4) * 4

/** A message whose head is encoded. Its arrays are copied when the packet is made. */
export interface PreparedMessage {
  readonly json: string
  readonly arrays: readonly Values[]
  readonly arrayBytes: number
}

/** @throws Error if the head is not JSON or the message is too large */
export function prepareMessage({ head, arrays }: Message): PreparedMessage {
  const layout = arrays.flatMap((values) => [typeOf(values), values.length])
  const json = JSON.stringify([head, layout])
  const arrayBytes = arrays.reduce((sum, { byteLength }) => sum + padded(byteLength), 0)
  const bytes = json.length + arrayBytes
  if (bytes > maxMessageBytes)
    throw new Error(`a message between processes has ${bytes} bytes, but the limit is ${maxMessageBytes}`)
  return { json, arrays, arrayBytes }
}

export function encodePacket(messages: readonly PreparedMessage[]): Buffer {
  const json = `[${messages.map((message) => message.json).join()}]`
  const jsonBytes = Buffer.byteLength(json)
  const arrayBytes = messages.reduce((sum, message) => sum + message.arrayBytes, 0)
  const packet = Buffer.allocUnsafe(prefixBytes + padded(jsonBytes) + arrayBytes)
  packet.writeUInt32LE(jsonBytes, 0)
  packet.writeUInt32LE(arrayBytes, 4)
  packet.write(json, prefixBytes)
  let at = packet.length - arrayBytes
  packet.fill(0, prefixBytes + jsonBytes, at)
  for (const { arrays } of messages)
    for (const { buffer, byteOffset, byteLength } of arrays) {
      packet.set(new Uint8Array(buffer, byteOffset, byteLength), at)
      at += padded(byteLength)
    }
  return packet
}

const typeOf = (values: Values) => arrayTypes.findIndex((type) => values instanceof type)

/** Makes messages of the bytes of a stream, however the stream divides them. */
export class PacketReader {
  #chunks: Buffer[] = []
  #bytes = 0
  /** Bytes of the first packet, as far as they are known. */
  #needed = prefixBytes

  /**
   * @returns the messages that are complete with this chunk
   * @throws MalformedMessage; nothing can be read after it
   */
  read(chunk: Buffer): Message[] {
    const messages: Message[] = []
    this.#chunks.push(chunk)
    this.#bytes += chunk.length
    while (this.#bytes >= this.#needed) {
      const [first] = this.#chunks
      const bytes = first !== undefined && this.#chunks.length === 1 ? first : Buffer.concat(this.#chunks, this.#bytes)
      this.#chunks = [bytes]
      this.#needed = sizeOf(bytes)
      if (bytes.length < this.#needed) break
      this.#chunks = bytes.length > this.#needed ? [bytes.subarray(this.#needed)] : []
      this.#bytes -= this.#needed
      const packet = bytes.subarray(0, this.#needed)
      this.#needed = prefixBytes
      decodePacket(packet, messages)
    }
    return messages
  }
}

/** The size of the packet that begins with these bytes. */
function sizeOf(bytes: Buffer): number {
  const size = prefixBytes + padded(bytes.readUInt32LE(0)) + bytes.readUInt32LE(4)
  if (size > maxPacketBytes)
    throw new MalformedMessage(`a packet declares ${size} bytes; expected at most ${maxPacketBytes}`)
  return size
}

function decodePacket(packet: Buffer, messages: Message[]): void {
  const jsonBytes = packet.readUInt32LE(0)
  const items = parseItems(packet.subarray(prefixBytes, prefixBytes + jsonBytes))
  let at = prefixBytes + padded(jsonBytes)
  for (const item of items) {
    if (!Array.isArray(item) || !Array.isArray(item[1]))
      throw new MalformedMessage('an item of a packet is not a head with its arrays')
    const [head, layout] = item as [unknown, readonly unknown[]]
    const { arrays, end } = readArrays(packet, at, layout)
    at = end
    messages.push({ head, arrays })
  }
  if (at !== packet.length)
    throw new MalformedMessage(`a packet has ${packet.length - at} bytes that belong to no array`)
}

function parseItems(json: Buffer): readonly unknown[] {
  let value: unknown
  try {
    value = JSON.parse(json.toString())
  } catch {
    throw new MalformedMessage('the head of a packet is not JSON')
  }
  if (Array.isArray(value)) return value
  throw new MalformedMessage('the head of a packet is not a list')
}

/** The arrays of a message. They share one copy of its bytes, so that a message does not keep its whole packet in memory. */
function readArrays(
  packet: Buffer,
  from: number,
  layout: readonly unknown[],
): { readonly arrays: readonly Values[]; readonly end: number } {
  if (layout.length === 0) return { arrays: [], end: from }
  let bytes = 0
  for (let place = 0; place < layout.length; place += 2) {
    const [type, length] = [layout[place], layout[place + 1]]
    const known = arrayTypes[Number(type)]
    if (typeof type !== 'number' || known === undefined) throw new MalformedMessage('an array has an unknown type')
    if (typeof length !== 'number' || !Number.isSafeInteger(length) || length < 0)
      throw new MalformedMessage('an array has an invalid length')
    bytes += padded(length * known.BYTES_PER_ELEMENT)
  }
  if (bytes > packet.length - from)
    throw new MalformedMessage(`the arrays of a message have ${bytes} bytes, but ${packet.length - from} are left`)
  const copy = new Uint8Array(bytes)
  copy.set(packet.subarray(from, from + bytes))
  const arrays: Values[] = []
  let at = 0
  for (let place = 0; place < layout.length; place += 2) {
    const ArrayType = arrayTypes[Number(layout[place])] ?? Uint8Array
    const values = new ArrayType(copy.buffer, at, Number(layout[place + 1]))
    arrays.push(values)
    at += padded(values.byteLength)
  }
  return { arrays, end: from + bytes }
}
