// The safetensors container: hostile files, and reading back what was written.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { parseHeader, serializeSafetensors, tensorBytes, tensorFloats } from '../../src/formats/safetensors.js'
import type { Problem } from '../../src/problem.js'

/** A file with any header, any header length and some data bytes, as an attacker could write it. */
function fileOf(header: unknown, dataBytes: number, headerLength?: bigint): Uint8Array {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header))
  const prefix = Buffer.alloc(8)
  prefix.writeBigUInt64LE(headerLength ?? BigInt(json.byteLength))
  return Buffer.concat([prefix, json, Buffer.alloc(dataBytes)])
}

const tensor = (begin: number, end: number) => ({ dtype: 'U8', shape: [end - begin], data_offsets: [begin, end] })

const rejected: [string, Uint8Array, RegExp][] = [
  ['an empty file', new Uint8Array(), /has only 0 bytes/],
  ['a text', Buffer.from('hello world, not a tensor'), /a text that begins with "hello world, not a tensor"/],
  ['a text in another script', Buffer.from('текст,метка\nпривет,да\n'), /a text that begins with "текст,метка"/],
  ['bytes that are not text', Buffer.alloc(100, 0xff), /header length is \d+ bytes/],
  ['a header longer than the file', fileOf({}, 0, 3n), /header length is 3 bytes, but only 2 bytes follow/],
  ['a header of 2^63 bytes', fileOf({}, 0, 2n ** 63n), /at most/],
  ['a header that is not JSON', fileOf('{"a":', 0), /not JSON/],
  ['a header that is not UTF-8', Buffer.concat([fileOf('', 0, 2n), Buffer.from([0xff, 0xfe])]), /not JSON in UTF-8/],
  ['a header that is an array', fileOf([], 0), /not a JSON object/],
  ['metadata with a number', fileOf({ __metadata__: { a: 1 } }, 0), /__metadata__: "a" must be a string/],
  [
    'nested arrays as a dtype',
    fileOf(`{"a":{"dtype":${'['.repeat(50_000)}${']'.repeat(50_000)},"shape":[1],"data_offsets":[0,1]}}`, 1),
    /"a": unknown dtype of type object/,
  ],
  [
    'two tensors with the same name, of which JSON.parse would keep the last',
    fileOf(`{"a":${JSON.stringify(tensor(0, 1))},"a":${JSON.stringify(tensor(0, 1))}}`, 1),
    /the header contains the key "a" twice in one object/,
  ],
  [
    'a key twice in different spellings, after strings with quotes and colons',
    fileOf('{"__metadata__":{"x":"\\\\","k":"\\":","\\u006b" : ""}}', 0),
    /contains the key "k" twice/,
  ],
  [
    'a repeated field of a tensor',
    fileOf('{"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}', 1),
    /"dtype" twice/,
  ],
  [
    'a missing dtype of a tensor with a very long name',
    fileOf({ ['a'.repeat(1e6)]: 1 }, 0),
    /^tensor "a{80}…": unknown dtype/,
  ],
  [
    'a shape of 100,000 dimensions, with a short message',
    fileOf({ a: { ...tensor(0, 1), shape: new Array(1e5).fill(2) } }, 1),
    /^tensor "a": U8 \[2, 2, 2, 2, 2, 2, 2, 2, … 100000 dimensions\] takes Infinity bytes, but data_offsets span 1$/,
  ],
  [
    'a name with control characters, with a message that escapes them',
    fileOf({ 'a\u001b[2J\n': 1 }, 0),
    /^tensor "a\\u001b\[2J\\n": unknown dtype/,
  ],
  ['a header with too many values', fileOf(`{"a":[${'[],'.repeat(500_000)}1]}`, 0), /more than 200000 values/],
  ['a shape of -0', fileOf('{"a":{"dtype":"U8","shape":[-0],"data_offsets":[0,0]}}', 0), /shape must be/],
  ['an unknown dtype', fileOf({ a: { ...tensor(0, 1), dtype: 'F4' } }, 1), /"a": unknown dtype "F4"/],
  ['an inherited dtype', fileOf({ a: { ...tensor(0, 1), dtype: 'toString' } }, 1), /unknown dtype/],
  ['a negative shape', fileOf({ a: { ...tensor(0, 1), shape: [-1] } }, 1), /shape must be/],
  [
    'a shape whose product overflows',
    fileOf({ a: { ...tensor(0, 1), shape: [2 ** 52, 2 ** 52] } }, 1),
    /takes .* bytes/,
  ],
  ['a range beyond the end', fileOf({ a: tensor(0, 9) }, 8), /are outside the 8 data bytes/],
  [
    'a range that runs backwards',
    fileOf({ a: { dtype: 'U8', shape: [0], data_offsets: [4, 2] } }, 8),
    /are outside the 8 data bytes/,
  ],
  [
    'a range that differs from the shape',
    fileOf({ a: { dtype: 'F32', shape: [2], data_offsets: [0, 4] } }, 4),
    /takes 8 bytes/,
  ],
  ['overlapping ranges', fileOf({ a: tensor(0, 4), b: tensor(2, 6) }, 6), /"b" overlaps/],
  ['a gap', fileOf({ a: tensor(0, 2), b: tensor(3, 4) }, 4), /before tensor "b", belong to no tensor/],
  ['bytes after the last tensor', fileOf({ a: tensor(0, 2) }, 3), /at the end, belong to no tensor/],
]

describe('the safetensors reader', () => {
  for (const [what, file, message] of rejected)
    test(`rejects ${what}`, () => {
      assert.throws(
        () => parseHeader(file),
        (error: Problem) => error.code === 'not_safetensors' && message.test(error.message),
      )
    })

  test('reads back what was written, byte for byte', () => {
    const bytes = fc.uint8Array({ maxLength: 40 })
    fc.assert(
      fc.property(fc.dictionary(fc.string(), bytes), fc.dictionary(fc.string(), fc.string()), (tensors, metadata) => {
        const names = Object.keys(tensors).filter((name) => name !== '__metadata__')
        const file = serializeSafetensors(
          metadata,
          Object.fromEntries(
            names.map((name) => [
              name,
              { dtype: 'U8', shape: [tensors[name]?.length ?? 0], data: tensors[name] ?? new Uint8Array() },
            ]),
          ),
        )
        const header = parseHeader(file)
        assert.deepEqual(new Map(Object.entries(metadata)), header.metadata)
        for (const [name, info] of header.tensors)
          assert.deepEqual(Uint8Array.from(tensorBytes(file, info)), tensors[name])
        assert.equal(header.tensors.size, names.length)
      }),
      { examples: [[Object.fromEntries([['__proto__', Uint8Array.of(7)]]), Object.fromEntries([['__proto__', 'a']])]] },
    )
  })

  test('accepts the same key in different objects, and strings that look like keys', () => {
    const [a, b] = [tensor(0, 1), tensor(1, 2)].map((entry) => JSON.stringify(entry))
    const file = fileOf(`{"__metadata__":{"dtype":"\\"dtype\\":","a":"a"},"a":${a}, "b" :${b}}`, 2)
    const { metadata, tensors } = parseHeader(file)
    assert.deepEqual(
      [...metadata],
      [
        ['dtype', '"dtype":'],
        ['a', 'a'],
      ],
    )
    assert.deepEqual([...tensors.keys()], ['a', 'b'])
  })

  test('accepts long strings that look like JSON', () => {
    const text = `[{,\\",${'[],'.repeat(500_000)}`
    assert.equal(parseHeader(fileOf({ __metadata__: { text } }, 0)).metadata.get('text'), text)
  })

  test('converts float16 and bfloat16 to float32', () => {
    const read = (dtype: 'F16' | 'BF16', ...halves: number[]) => {
      const data = new Uint8Array(Uint16Array.from(halves).buffer)
      const file = serializeSafetensors({}, { x: { dtype, shape: [halves.length], data } })
      const info = parseHeader(file).tensors.get('x')
      assert.ok(info)
      return Array.from(tensorFloats(file, 'x', info))
    }
    assert.deepEqual(read('F16', 0x3c00, 0xc000, 0x7bff, 0x0001, 0x0400, 0x8000), [
      1,
      -2,
      65504,
      2 ** -24,
      2 ** -14,
      -0,
    ])
    assert.deepEqual(read('F16', 0x7c00, 0xfc00), [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])
    assert.ok(Number.isNaN(read('F16', 0x7e00)[0]))
    assert.deepEqual(read('BF16', 0x3f80, 0xc049), [1, -3.140625])
    const many = new Array<number>(20_000).fill(0x3c00).with(17, 0xc000).with(19_999, 0x7bff)
    assert.deepEqual(read('F16', ...many), new Array<number>(20_000).fill(1).with(17, -2).with(19_999, 65_504))
  })
})
