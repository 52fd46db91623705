// Mutates a valid safetensors file, as an attacker or a faulty disk might. Mutations change the metadata and tensors, then
// the JSON of the header, then the bytes. Each stage is often skipped, so that files also reach the later checks.

import { parseHeader, tensorBytes } from '../../src/formats/safetensors.js'
import type { Random } from '../../src/learn/random.js'

/** JSON that can also contain what JSON.stringify never writes: repeated names and invalid literals. */
type Json = string | number | boolean | null | readonly Json[] | Members | Literal

class Members {
  constructor(readonly list: [name: string, value: Json][]) {}
}

class Literal {
  constructor(readonly text: string) {}
}

interface Tensor {
  name: string
  dtype: string
  shape: number[]
  data: Uint8Array
}

export interface Container {
  readonly metadata: readonly (readonly [string, string])[]
  readonly tensors: readonly Readonly<Tensor>[]
}

export function containerOf(file: Uint8Array): Container {
  const { metadata, tensors } = parseHeader(file)
  return {
    metadata: [...metadata],
    tensors: [...tensors].map(([name, info]) => ({
      name,
      dtype: info.dtype,
      shape: [...info.shape],
      data: tensorBytes(file, info),
    })),
  }
}

/** A mutated file. Sometimes it is still valid. */
export function mutated(container: Container, random: Random): Uint8Array {
  const metadata = container.metadata.map(([key, value]): [string, string] => [key, value])
  const tensors = container.tensors.map((tensor): Tensor => ({ ...tensor, shape: [...tensor.shape] }))
  if (random.below(2) === 0) times(random, () => mutateMeaning(metadata, tensors, random))
  const header = headerOf(metadata, tensors)
  if (random.below(2) === 0) times(random, () => mutateJson(header, random))
  const data = tensors.map((tensor) => tensor.data)
  const bytes = assemble(written(header), Buffer.concat(data), random)
  return random.below(4) === 0 ? mutateBytes(bytes, random) : bytes
}

/** 1 to 4 times, mostly once. */
function times(random: Random, change: () => void): void {
  do change()
  while (random.below(3) === 0)
}

const oneOf = <T>(random: Random, values: readonly T[]): T => {
  const value = values[random.below(values.length)]
  if (value === undefined) throw new Error('no value to choose from')
  return value
}

const sizes: Readonly<Record<string, number>> = {
  ...{ BOOL: 1, U8: 1, I8: 1, U16: 2, I16: 2, F16: 2, BF16: 2 },
  ...{ U32: 4, I32: 4, F32: 4, U64: 8, I64: 8, F64: 8 },
}
const types = Object.keys(sizes)

const names = [
  ...['mask', 'head.weight', 'head.bias', 'head.dense.weight', 'head.dense.bias', 'layer_masks', 'down.weight', 'base'],
  ...['', '__proto__', 'constructor', '0', '__metadata__', 'ä\u0000\n', '\ud800', 'x'.repeat(3_000)],
]

const keys = [
  ...['format', 'prototype', 'combine', 'problem_type', 'pooling', 'labels', 'threshold', 'normalize', 'description'],
  ...['metrics', 'range', 'head_activation', 'kind', 'config', 'layers', 'hidden_size', 'backbone', 'learned_on'],
  ...['', '__proto__', 'toString', '7', '\udfff', 'k'.repeat(3_000)],
]

const texts = [
  ...[
    '',
    'or',
    'and',
    'add',
    'none',
    'mean',
    'cls',
    'tanh',
    'true',
    'false',
    'adapter',
    'lora',
    'prefix',
    'propetl-task/1',
  ],
  ...['propetl-prototype/1', 'single_label_classification', 'multi_label_classification', 'regression'],
  ...[
    'token_classification',
    'feature_extraction',
    'constructor',
    '0',
    '1',
    '2',
    '-1',
    '1e3',
    '0x10',
    ' 3 ',
    '1.5',
    'NaN',
  ],
  ...['Infinity', '9007199254740993', '[', '{}', '[]', 'null', '[0,1]', '[1,0]', '[-1e400,1e400]', '{"a":1e999}'],
  ...[
    '["a","b"]',
    '["a","a"]',
    '["",1]',
    '{"__proto__":{"a":1}}',
    '0.5',
    '1e-400',
    '"\\ud800"',
    '\u0000',
    '\ud83d',
    '😀',
  ],
  ...['a'.repeat(64), 'A'.repeat(64), 'y'.repeat(5_000), '['.repeat(100) + ']'.repeat(100)],
  `{"kind":"lora","rank":2,"alpha":1,"length":5,"bottleneck":3,"activation":"relu","scaling":1}`,
]

const numbers: readonly Json[] = [
  ...[0, 1, 2, 3, 7, 8, 255, -1, 0.5, 2 ** 31, 2 ** 32, 2 ** 53 - 1, 2 ** 53, 2 ** 63, 1e21, 1e308],
  ...['-0', '1e400', '-1e999', '1.0', '1e0', '18446744073709551615', '9007199254740993'].map(
    (text) => new Literal(text),
  ),
]

/** Text that is not JSON but looks like it, and fragments of JSON. */
const literals = [
  'NaN',
  'Infinity',
  '01',
  '+1',
  '.5',
  '1.',
  "'a'",
  '"\\x"',
  '"\\ud800"',
  '"\t"',
  '',
  ',',
  '}',
  ']',
  '//',
]

function mutateMeaning(metadata: [string, string][], tensors: Tensor[], random: Random): void {
  const entry = () => (metadata.length > 0 ? oneOf(random, metadata) : undefined)
  const tensor = () => (tensors.length > 0 ? oneOf(random, tensors) : undefined)
  switch (random.below(12)) {
    case 0:
      metadata.push([oneOf(random, keys), oneOf(random, texts)])
      break
    case 1:
      metadata.splice(random.below(metadata.length + 1), 1)
      break
    case 2: {
      const chosen = entry()
      if (chosen) chosen[0] = oneOf(random, keys)
      break
    }
    case 3:
    case 4: {
      const chosen = entry()
      if (chosen) chosen[1] = oneOf(random, texts)
      break
    }
    case 5:
    case 6: {
      const chosen = entry()
      if (chosen) chosen[1] = mutateText(chosen[1], random)
      break
    }
    case 7:
      tensors.splice(random.below(tensors.length + 1), 1)
      break
    case 8: {
      const chosen = tensor()
      if (chosen) tensors.push({ ...chosen, name: oneOf(random, names) })
      break
    }
    case 9: {
      const chosen = tensor()
      if (chosen) chosen.name = oneOf(random, names)
      break
    }
    case 10: {
      const chosen = tensor()
      if (chosen) reshape(chosen, random)
      break
    }
    default: {
      const chosen = tensor()
      if (chosen) chosen.data = changedData(chosen.data, random)
    }
  }
}

/** JSON in a text is mutated as JSON. Other texts are mutated as characters. */
function mutateText(text: string, random: Random): string {
  if (/^[[{]/.test(text) && random.below(4) > 0) {
    try {
      const root = new Members([['', jsonOf(JSON.parse(text))]])
      mutateJson(root, random)
      return root.list.map(([, value]) => written(value)).join('')
    } catch {
      // An earlier mutation made the JSON invalid.
    }
  }
  const at = random.below(text.length + 1)
  return text.slice(0, at) + oneOf(random, texts) + text.slice(at + random.below(3))
}

/** Another shape or type, with the bytes that it needs. */
function reshape(tensor: Tensor, random: Random): void {
  if (random.below(2) === 0) tensor.dtype = oneOf(random, types)
  if (random.below(2) === 0) tensor.shape = Array.from({ length: random.below(4) }, () => random.below(9))
  else if (tensor.shape.length > 0) {
    const at = random.below(tensor.shape.length)
    tensor.shape[at] = Math.max(0, Math.min(10_000, (tensor.shape[at] ?? 0) + random.below(5) - 2))
  }
  const length = tensor.shape.reduce((product, dim) => product * dim, sizes[tensor.dtype] ?? 1)
  // The existing bytes are kept, so that most values do not change.
  const data = new Uint8Array(Math.min(length, 200_000))
  data.set(tensor.data.subarray(0, data.byteLength))
  tensor.data = data
}

const floatPatterns = [0x7fc00000, 0x7f800000, 0xff800000, 0x00000001, 0x80000000, 0x7f7fffff, 0x7c007c00, 0xffffffff]

function changedData(data: Uint8Array, random: Random): Uint8Array {
  const changed = Uint8Array.from(data)
  const view = new DataView(changed.buffer)
  if (changed.byteLength >= 4 && random.below(2) === 0)
    view.setUint32(4 * random.below(Math.floor(changed.byteLength / 4)), oneOf(random, floatPatterns), true)
  else if (changed.byteLength > 0) changed[random.below(changed.byteLength)] = random.below(256)
  return changed
}

function headerOf(metadata: readonly [string, string][], tensors: readonly Tensor[]): Members {
  let end = 0
  return new Members([
    ['__metadata__', new Members(metadata.map(([key, value]) => [key, value]))],
    ...tensors.map(({ name, dtype, shape, data }): [string, Json] => {
      const begin = end
      end += data.byteLength
      return [
        name,
        new Members([
          ['dtype', dtype],
          ['shape', shape],
          ['data_offsets', [begin, end]],
        ]),
      ]
    }),
  ])
}

function jsonOf(value: unknown): Json {
  if (Array.isArray(value)) return value.map(jsonOf)
  if (typeof value === 'object' && value !== null)
    return new Members(Object.entries(value).map(([name, inner]) => [name, jsonOf(inner)]))
  return value as Json
}

function written(json: Json): string {
  if (json instanceof Literal) return json.text
  if (json instanceof Members)
    return `{${json.list.map(([name, value]) => `${JSON.stringify(name)}:${written(value)}`).join(',')}}`
  return Array.isArray(json) ? `[${json.map(written).join(',')}]` : JSON.stringify(json)
}

/** Changes one member of an object or of an object within it. */
function mutateJson(root: Members, random: Random): void {
  let within = root
  let member = within.list[random.below(within.list.length)]
  while (member && member[1] instanceof Members && member[1].list.length > 0 && random.below(4) > 0) {
    within = member[1]
    member = within.list[random.below(within.list.length)]
  }
  if (member === undefined) return
  switch (random.below(8)) {
    case 0:
      within.list.splice(within.list.indexOf(member), 1)
      break
    case 1:
      within.list.push([member[0], random.below(2) === 0 ? member[1] : anyJson(random)])
      break
    case 2:
      member[0] = oneOf(random, [...names, ...keys, 'dtype', 'shape', 'data_offsets'])
      break
    case 3:
      within.list.push([oneOf(random, names), anyJson(random)])
      break
    case 4:
      member[1] = new Literal(oneOf(random, literals))
      break
    case 5:
      within.list.reverse()
      break
    default:
      member[1] = Array.isArray(member[1]) ? changedList(member[1], random) : anyJson(random)
  }
}

function changedList(list: readonly Json[], random: Random): Json[] {
  const changed = [...list]
  const at = random.below(list.length + 1)
  switch (random.below(5)) {
    case 0:
      changed.splice(at, 1)
      break
    case 1:
      changed.splice(at, 0, anyJson(random))
      break
    case 2:
      changed.reverse()
      break
    case 3:
      // A range that overlaps the next one, leaves a gap, or exceeds the data.
      return list.map((each) => (typeof each === 'number' ? each + oneOf(random, [-8, -1, 0, 1, 4, 8, 1e6]) : each))
    default:
      changed[at] = oneOf(random, numbers)
  }
  return changed
}

function anyJson(random: Random): Json {
  switch (random.below(9)) {
    case 0:
      return null
    case 1:
      return random.below(2) === 0
    case 2:
    case 3:
      return oneOf(random, numbers)
    case 4:
      return oneOf(random, texts)
    case 5:
      return oneOf(random, types)
    case 6:
      return new Members(random.below(2) === 0 ? [] : [[oneOf(random, names), oneOf(random, numbers)]])
    case 7:
      return new Literal('['.repeat(300) + ']'.repeat(300))
    default:
      return new Array<Json>(oneOf(random, [0, 1, 2, 3, 100])).fill(oneOf(random, numbers))
  }
}

const wrongLengths = [
  0n,
  1n,
  7n,
  8n,
  2n ** 20n,
  100n * 2n ** 20n,
  100n * 2n ** 20n + 1n,
  2n ** 53n,
  2n ** 63n,
  2n ** 64n - 1n,
]

function assemble(header: string, data: Uint8Array, random: Random): Uint8Array {
  const json = Buffer.from(header)
  const prefix = Buffer.alloc(8)
  let length = BigInt(json.byteLength)
  if (random.below(20) === 0) {
    const shift = BigInt(random.below(17) - 8)
    length = random.below(2) === 0 ? oneOf(random, wrongLengths) : BigInt.asUintN(64, length + shift)
  }
  prefix.writeBigUInt64LE(length)
  return Buffer.concat([prefix, json, data])
}

function mutateBytes(file: Uint8Array, random: Random): Uint8Array {
  const at = random.below(file.byteLength + 1)
  switch (random.below(6)) {
    case 0:
      return file.subarray(0, at)
    case 1:
      return Buffer.concat([file, Buffer.alloc(random.below(20))])
    case 2: {
      // Mostly in the header or in the length before it.
      const flipped = Uint8Array.from(file)
      for (let flips = 1 + random.below(8); flips > 0; flips--) {
        const place = random.below(Math.min(file.byteLength, random.below(2) === 0 ? 600 : file.byteLength) || 1)
        flipped[place] = (flipped[place] ?? 0) ^ (1 << random.below(8))
      }
      return flipped
    }
    case 3:
      // Repeats a part of the file elsewhere.
      return Buffer.concat([file.subarray(0, at), file.subarray(random.below(file.byteLength + 1))])
    case 4: {
      // Invalid or truncated UTF-8.
      const bad = oneOf(random, ['ff', 'c3', 'e282', 'f09f98', 'c080', 'eda080', 'efbbbf', '00'])
      return Buffer.concat([file.subarray(0, at), Buffer.from(bad, 'hex'), file.subarray(at)])
    }
    default: {
      const piece = file.subarray(at, at + random.below(64))
      const place = random.below(file.byteLength + 1)
      return Buffer.concat([
        file.subarray(0, place),
        piece,
        file.subarray(Math.min(file.byteLength, place + piece.byteLength)),
      ])
    }
  }
}
