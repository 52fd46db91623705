import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { encodePacket, type Message, PacketReader, prepareMessage } from '../../src/inference/packets.js'

const encode = (messages: readonly Message[]) => encodePacket(messages.map(prepareMessage))

const arrays = fc.oneof(
  fc.array(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 })).map((values) => Int32Array.from(values)),
  fc.float32Array(),
  fc.uint8Array(),
)
const message = fc.record({ head: fc.jsonValue(), arrays: fc.array(arrays, { maxLength: 4 }) })

test('messages arrive as they were sent, however the stream divides them', () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(message, { minLength: 1, maxLength: 5 }), { maxLength: 4 }),
      fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }),
      (turns, sizes) => {
        const bytes = Buffer.concat(turns.map(encode))
        const reader = new PacketReader()
        const received: Message[] = []
        let at = 0
        for (let chunk = 0; at < bytes.length; chunk++) {
          const size = sizes[chunk % sizes.length] ?? 1
          received.push(...reader.read(bytes.subarray(at, at + size)))
          at += size
        }
        const sent = turns.flat().map(({ head, arrays }) => ({ head: JSON.parse(JSON.stringify(head)), arrays }))
        assert.deepEqual(received, sent)
      },
    ),
    { numRuns: 200 },
  )
})

test('floats keep all of their bits', () => {
  const bits = Uint32Array.of(0x7fc00001, 0x80000000, 1, 0x7f800000, 0x3f800001)
  const [received] = new PacketReader().read(encode([{ head: null, arrays: [new Float32Array(bits.buffer)] }]))
  const [values] = received?.arrays ?? []
  assert.ok(values instanceof Float32Array)
  assert.deepEqual(new Uint32Array(values.buffer, values.byteOffset, values.length), bits)
})

test('a message does not keep the bytes of its neighbours in memory', () => {
  const small = { head: 'small', arrays: [new Uint8Array(8)] }
  const large = { head: 'large', arrays: [new Uint8Array(1_000_000)] }
  const [first] = new PacketReader().read(encode([small, large]))
  assert.equal(first?.arrays[0]?.buffer.byteLength, 8)
})

test('rejects a message that the receiver would reject as too large', () => {
  const large = new Uint8Array(2 ** 28)
  assert.throws(() => prepareMessage({ head: 'large', arrays: [large, new Uint8Array(1)] }), /the limit is 268435456/)
})

const packetOf = (json: string, arrays = Buffer.alloc(0)) => {
  const head = Buffer.from(json.padEnd(Math.ceil(json.length / 4) * 4))
  const prefix = Buffer.alloc(8)
  prefix.writeUInt32LE(json.length, 0)
  prefix.writeUInt32LE(arrays.length, 4)
  return Buffer.concat([prefix, head, arrays])
}

const malformed: Readonly<Record<string, readonly [Buffer, RegExp]>> = {
  'a size over the limit': [Buffer.alloc(8, 0xff), /declares \d+ bytes; expected at most/],
  'a head that is not JSON': [packetOf('[[1,[]'), /is not JSON/],
  'a head that is not a list': [packetOf('{}'), /is not a list/],
  'a head of deep nesting': [packetOf('['.repeat(1_000_000)), /is not JSON/],
  'a message without arrays': [packetOf('[[1]]'), /not a head with its arrays/],
  'an array of an unknown type': [packetOf('[[1,[3,1]]]', Buffer.alloc(4)), /unknown type/],
  'an array with a type that is not a number': [packetOf('[[1,["0",1]]]', Buffer.alloc(4)), /unknown type/],
  'an array of negative length': [packetOf('[[1,[0,-1]]]'), /invalid length/],
  'an array without a length': [packetOf('[[1,[0]]]'), /invalid length/],
  'an array of a length that is no number': [packetOf('[[1,[2,"4"]]]', Buffer.alloc(4)), /invalid length/],
  'an array that is longer than the packet': [packetOf('[[1,[1,2]]]', Buffer.alloc(4)), /have 8 bytes, but 4 are left/],
  'an array of huge length': [packetOf('[[1,[0,9007199254740991]]]', Buffer.alloc(4)), /but 4 are left/],
  'bytes that belong to no array': [packetOf('[[1,[2,4]]]', Buffer.alloc(8)), /4 bytes that belong to no array/],
}

for (const [name, [bytes, error]] of Object.entries(malformed))
  test(`rejects ${name}`, () => {
    assert.throws(() => new PacketReader().read(bytes), { name: 'MalformedMessage', message: error })
  })

test('random bytes are rejected or wait for more, and cause no other error', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 8, maxLength: 64 }), (bytes) => {
      try {
        new PacketReader().read(Buffer.from(bytes))
      } catch (error) {
        assert.equal((error as Error).name, 'MalformedMessage')
      }
    }),
    { numRuns: 2_000 },
  )
})
