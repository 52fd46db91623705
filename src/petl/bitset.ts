// Bitsets over the n maskable weights. Bit i is bit i & 7 of byte i >> 3. The bitsets of several layers, of ⌈n/8⌉ bytes
// each, follow each other.

const onesInByte = Uint8Array.from({ length: 256 }, (_, byte) => byte.toString(2).replaceAll('0', '').length)

/** Number of ones among the first `bits` bits. */
export function countOnes(set: Uint8Array, bits: number): number {
  const wholeBytes = bits >> 3
  let count = 0
  for (let i = 0; i < wholeBytes; i++) count += onesInByte[set[i] ?? 0] ?? 0
  const rest = (set[wholeBytes] ?? 0) & ((1 << (bits & 7)) - 1)
  return count + (onesInByte[rest] ?? 0)
}

/** Adds the ones of a bitset of the same length to `target`. */
export function uniteInto(target: Uint8Array, set: Uint8Array): void {
  const words = asUint32Views(target, set)
  if (words) for (let i = 0; i < words.a.length; i++) words.a[i] = (words.a[i] ?? 0) | (words.b[i] ?? 0)
  for (let i = words ? words.a.length * 4 : 0; i < target.length; i++) target[i] = (target[i] ?? 0) | (set[i] ?? 0)
}

/** Keeps the ones of `target` that a bitset of the same length has too. */
export function intersectInto(target: Uint8Array, set: Uint8Array): void {
  const words = asUint32Views(target, set)
  if (words) for (let i = 0; i < words.a.length; i++) words.a[i] = (words.a[i] ?? 0) & (words.b[i] ?? 0)
  for (let i = words ? words.a.length * 4 : 0; i < target.length; i++) target[i] = (target[i] ?? 0) & (set[i] ?? 0)
}

/** The complete 32-bit words of two bitsets of one length, which are faster. Undefined if one is not aligned to them. */
function asUint32Views(a: Uint8Array, b: Uint8Array): { readonly a: Uint32Array; readonly b: Uint32Array } | undefined {
  if (a.byteOffset % 4 !== 0 || b.byteOffset % 4 !== 0) return undefined
  const words = a.length >> 2
  return { a: new Uint32Array(a.buffer, a.byteOffset, words), b: new Uint32Array(b.buffer, b.byteOffset, words) }
}

/** The bitset of several arrays of zeros and ones, one after the other. */
export function packBits(arrays: readonly ArrayLike<number>[]): Uint8Array {
  const set = new Uint8Array(Math.ceil(arrays.reduce((sum, { length }) => sum + length, 0) / 8))
  let bit = 0
  for (const array of arrays)
    for (let i = 0; i < array.length; i++, bit++) if (array[i]) set[bit >> 3] = (set[bit >> 3] ?? 0) | (1 << (bit & 7))
  return set
}
