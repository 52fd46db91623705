// The safetensors container: a JSON header that gives each tensor a byte range, then the bytes. The reader checks every
// length, range and shape before it returns a tensor. Readers of specific files check which tensors there are.

import { isUtf8 } from 'node:buffer'
import { Problem, quoted } from '../problem.js'
import { finish, type Steps } from '../steps.js'
import { hasAtMostValues, maxValues, repeatedKey } from './json.js'

/** Bytes of one element. The types below one byte of newer files are rejected as unknown. */
const elementBytes = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
} as const

export type TensorType = keyof typeof elementBytes

export interface TensorInfo {
  readonly dtype: TensorType
  readonly shape: readonly number[]
  /** First byte of the tensor, from the start of the file. */
  readonly offset: number
  /** Length in bytes. */
  readonly length: number
}

export interface SafetensorsHeader {
  readonly metadata: ReadonlyMap<string, string>
  readonly tensors: ReadonlyMap<string, TensorInfo>
}

/** A tensor to write. `data` contains its elements, little-endian and row-major. */
export interface TensorData {
  readonly dtype: TensorType
  readonly shape: readonly number[]
  readonly data: Uint8Array
}

const lengthPrefix = 8

/** Largest size of a header. */
export interface HeaderLimits {
  readonly bytes: number
  /** JSON values: those of all tensors and of the metadata. */
  readonly values: number
}

const anyHeader: HeaderLimits = { bytes: 100 * 1024 * 1024, values: maxValues }

const throwInvalidSafetensors = (message: string): never => {
  throw new Problem('not_safetensors', message)
}

/**
 * Length of the JSON header, from the first 8 bytes of the file. It is checked against the size of the file.
 * @param prefix at least the first 8 bytes of the file
 * @param fileBytes size of the whole file in bytes
 * @throws Problem `not_safetensors`
 */
export function headerLength(prefix: Uint8Array, fileBytes: number, { bytes: most } = anyHeader): number {
  if (fileBytes < lengthPrefix || prefix.byteLength < lengthPrefix)
    return throwInvalidSafetensors(
      `the file has only ${fileBytes} bytes; a safetensors file starts with a header length of 8 bytes`,
    )
  const view = new DataView(prefix.buffer, prefix.byteOffset, lengthPrefix)
  const length = view.getBigUint64(0, true)
  if (length > BigInt(fileBytes - lengthPrefix)) {
    const other = describeOtherFormat(prefix)
    if (other !== undefined) return throwInvalidSafetensors(other)
  }
  if (length > BigInt(most))
    return throwInvalidSafetensors(`the header length is ${length} bytes; at most ${most} are allowed`)
  if (length > BigInt(fileBytes - lengthPrefix))
    return throwInvalidSafetensors(
      `the header length is ${length} bytes, but only ${fileBytes - lengthPrefix} bytes follow`,
    )
  return Number(length)
}

/** How files of other formats begin. */
const otherFormats: readonly (readonly [string, string])[] = [
  ['version https://git-lfs', 'a Git LFS pointer: fetch the file itself with `git lfs pull`'],
  ['PK\x03\x04', 'a zip archive, such as a PyTorch checkpoint or a spreadsheet'],
  ['\x1f\x8b', 'compressed with gzip: decompress it first'],
  ['\x80', 'a Python pickle'],
]

/** The error text for a file of another format, if its first bytes show the format. */
function describeOtherFormat(prefix: Uint8Array): string | undefined {
  const beginning = Buffer.from(prefix.subarray(0, 32))
  const known = otherFormats.find(([start]) => beginning.toString('latin1').startsWith(start))
  if (known) return `the file is not a safetensors file; it is ${known[1]}`
  const line = firstLine(beginning)
  return line === undefined
    ? undefined
    : `the file is not a safetensors file; it is a text that begins with ${quoted(line)}. To make a task file from a table of examples, use \`propetl learn\``
}

/** The first line if the bytes are text in UTF-8. The last character may be incomplete. */
function firstLine(beginning: Buffer): string | undefined {
  const whole = [0, 1, 2, 3]
    .map((cut) => beginning.subarray(0, beginning.byteLength - cut))
    .find((part) => isUtf8(part))
  const text = whole?.toString()
  return text !== undefined && /^(?:[\t\n\r]|\P{Cc})+$/u.test(text) ? text.split(/[\r\n]/, 1)[0] : undefined
}

/**
 * Reads and checks the header of a safetensors file. The ranges must cover the data without gap or overlap, as the format
 * requires.
 * @param head the first bytes of the file, with the whole header
 * @param fileBytes size of the whole file in bytes
 * @throws Problem `not_safetensors` if the file is not valid
 */
export function parseHeader(
  head: Uint8Array,
  fileBytes: number = head.byteLength,
  limits: HeaderLimits = anyHeader,
): SafetensorsHeader {
  return finish(headerInSteps(head, fileBytes, limits))
}

/** {@link parseHeader} in steps, because a header with many labels is long. */
export function* headerInSteps(head: Uint8Array, fileBytes: number, limits: HeaderLimits): Steps<SafetensorsHeader> {
  const length = headerLength(head, fileBytes, limits)
  const json = yield* parseJson(head.subarray(lengthPrefix, lengthPrefix + length), limits)
  yield
  const entries = Object.entries(json)
  const dataStart = lengthPrefix + length
  const metadata = new Map<string, string>()
  const tensors = new Map<string, TensorInfo>()
  for (const [name, entry] of entries) {
    if (name === '__metadata__') readMetadata(entry, metadata)
    else tensors.set(name, readTensorInfo(name, entry, dataStart, fileBytes))
  }
  checkCoverage(tensors, dataStart, fileBytes)
  return { metadata, tensors }
}

function* parseJson(bytes: Uint8Array, limits: HeaderLimits): Steps<object> {
  let text: string
  let value: unknown
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    yield
    // A text with too many values is not parsed at all.
    value = hasAtMostValues(text, limits.values) ? JSON.parse(text) : undefined
    yield
  } catch (error) {
    return throwInvalidSafetensors(`the header is not JSON in UTF-8: ${(error as Error).message}`)
  }
  if (value === undefined) return throwInvalidSafetensors(`the header has more than ${limits.values} values`)
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return throwInvalidSafetensors('the header is not a JSON object')
  const twice = repeatedKey(text)
  if (twice !== undefined)
    return throwInvalidSafetensors(`the header contains the key ${quoted(twice)} twice in one object`)
  return value
}

function readMetadata(entry: unknown, into: Map<string, string>): void {
  if (typeof entry !== 'object' || entry === null || Array.isArray(entry))
    throwInvalidSafetensors('__metadata__ must be a JSON object of strings')
  for (const [key, value] of Object.entries(entry as object)) {
    if (typeof value !== 'string')
      throwInvalidSafetensors(`__metadata__: ${quoted(key)} must be a string, not ${typeof value}`)
    into.set(key, value)
  }
}

export const isShape = (shape: readonly number[], expected: readonly number[]): boolean =>
  shape.length === expected.length && shape.every((dim, i) => dim === expected[i])

/** A shape in an error text. */
export const shapeText = (shape: readonly number[]): string =>
  `[${shape.slice(0, 8).join(', ')}${shape.length > 8 ? `, … ${shape.length} dimensions` : ''}]`

const isCount = (value: unknown): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && !Object.is(value, -0)

function readTensorInfo(name: string, entry: unknown, dataStart: number, fileBytes: number): TensorInfo {
  const { dtype, shape, data_offsets: range } = (entry ?? {}) as Record<string, unknown>
  if (typeof dtype !== 'string' || !Object.hasOwn(elementBytes, dtype))
    return throwInvalidSafetensors(
      `tensor ${quoted(name)}: unknown dtype ${typeof dtype === 'string' ? quoted(dtype) : `of type ${typeof dtype}`}`,
    )
  if (!Array.isArray(shape) || !shape.every(isCount))
    return throwInvalidSafetensors(`tensor ${quoted(name)}: shape must be an array of whole numbers from 0`)
  if (!Array.isArray(range) || range.length !== 2 || !range.every(isCount))
    return throwInvalidSafetensors(`tensor ${quoted(name)}: data_offsets must be two whole numbers from 0`)
  const [begin, end] = range as [number, number]
  if (begin > end || end > fileBytes - dataStart)
    return throwInvalidSafetensors(
      `tensor ${quoted(name)}: data_offsets [${begin}, ${end}] are outside the ${fileBytes - dataStart} data bytes`,
    )
  const type = dtype as TensorType
  const expected = shape.reduce((product: number, dim: number) => product * dim, elementBytes[type])
  if (end - begin !== expected)
    return throwInvalidSafetensors(
      `tensor ${quoted(name)}: ${type} ${shapeText(shape)} takes ${expected} bytes, but data_offsets span ${end - begin}`,
    )
  return { dtype: type, shape, offset: dataStart + begin, length: end - begin }
}

function checkCoverage(tensors: ReadonlyMap<string, TensorInfo>, dataStart: number, fileBytes: number): void {
  const sorted = [...tensors].sort(([, a], [, b]) => a.offset - b.offset || a.length - b.length)
  let reached = dataStart
  for (const [name, { offset, length }] of sorted) {
    if (offset < reached)
      throwInvalidSafetensors(`tensor ${quoted(name)} overlaps the tensor before it at data byte ${offset - dataStart}`)
    if (offset > reached)
      throwInvalidSafetensors(
        `data bytes ${reached - dataStart} to ${offset - dataStart}, before tensor ${quoted(name)}, belong to no tensor`,
      )
    reached = offset + length
  }
  if (reached !== fileBytes)
    throwInvalidSafetensors(
      `data bytes ${reached - dataStart} to ${fileBytes - dataStart}, at the end, belong to no tensor`,
    )
}

/** The bytes of a tensor, as a view of `file`. */
export const tensorBytes = (file: Uint8Array, info: TensorInfo): Uint8Array =>
  new Uint8Array(file.buffer, file.byteOffset + info.offset, info.length)

/**
 * Writes a safetensors file with the tensors in the given order. The header is padded with spaces, so that the data starts
 * at a multiple of 8 bytes.
 */
export function serializeSafetensors(
  metadata: Readonly<Record<string, string>>,
  tensors: Readonly<Record<string, TensorData>>,
): Uint8Array {
  let end = 0
  const entries = Object.entries(tensors).map(([name, { dtype, shape, data }]) => {
    const begin = end
    end += data.byteLength
    return [name, { dtype, shape, data_offsets: [begin, end] }] as const
  })
  // Object.fromEntries, unlike an assignment, treats "__proto__" as an ordinary name.
  const header = Object.fromEntries<unknown>([['__metadata__', metadata], ...entries])
  const json = Buffer.from(JSON.stringify(header), 'utf8')
  const headerBytes = Math.ceil(json.byteLength / 8) * 8
  const file = Buffer.alloc(lengthPrefix + headerBytes + end, ' ')
  file.writeBigUInt64LE(BigInt(headerBytes), 0)
  json.copy(file, lengthPrefix)
  let position = lengthPrefix + headerBytes
  for (const { data } of Object.values(tensors)) {
    file.set(data, position)
    position += data.byteLength
  }
  return file
}

/**
 * The elements of an F32, F16 or BF16 tensor as float32. For an aligned F32 tensor it is a view of `file`, otherwise a
 * copy.
 * @throws Problem `not_safetensors` for other types
 */
export function tensorFloats(file: Uint8Array, name: string, info: TensorInfo): Float32Array {
  return finish(floatsInSteps(file, name, info))
}

/** {@link tensorFloats} in steps, for large tensors. */
export function* floatsInSteps(file: Uint8Array, name: string, info: TensorInfo): Steps<Float32Array> {
  if (info.dtype !== 'F32' && info.dtype !== 'F16' && info.dtype !== 'BF16')
    return throwInvalidSafetensors(`tensor ${quoted(name)}: expected F32, F16 or BF16, not ${info.dtype}`)
  const stored = tensorBytes(file, info)
  if (info.dtype === 'F32' && stored.byteOffset % 4 === 0)
    return new Float32Array(stored.buffer, stored.byteOffset, info.length / 4)
  const bytes = new Uint8Array(stored)
  if (info.dtype === 'F32') return new Float32Array(bytes.buffer)
  const halves = new Uint16Array(bytes.buffer)
  if (info.dtype === 'F16') return yield* floatsOfHalves(halves)
  return new Float32Array(Uint32Array.from(halves, (half) => half << 16).buffer)
}

/** Elements that are converted or checked in one step. */
export const elementsPerStep = 2 ** 17

/** Large tensors are converted with a table of all 65,536 float16 values, which is faster. */
function* floatsOfHalves(halves: Uint16Array): Steps<Float32Array> {
  if (halves.length < 10_000) return Float32Array.from(halves, floatOfHalf)
  floatOfEveryHalf ??= Float32Array.from({ length: 2 ** 16 }, (_, half) => floatOfHalf(half))
  const floats = new Float32Array(halves.length)
  for (let i = 0; i < halves.length; i++) {
    floats[i] = floatOfEveryHalf[halves[i] ?? 0] ?? 0
    if (i % elementsPerStep === elementsPerStep - 1) yield
  }
  return floats
}

let floatOfEveryHalf: Float32Array | undefined

/** Converts the bits of an IEEE 754 binary16 to a number. */
function floatOfHalf(half: number): number {
  const sign = half & 0x8000 ? -1 : 1
  const exponent = (half >> 10) & 0x1f
  const fraction = half & 0x3ff
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}
