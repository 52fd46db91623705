// Bitsets over the n maskable weights: bit i is bit i & 7 of byte i >> 3. Rows of ⌈n/8⌉ bytes lie end to end.

const ones = Uint8Array.from({ length: 256 }, (_, byte) => byte.toString(2).replaceAll('0', '').length)

/** How many of the first `bits` bits are 1. */
export function countOnes(set: Uint8Array, bits: number): number {
  const whole = bits >> 3
  let count = 0
  for (let i = 0; i < whole; i++) count += ones[set[i] ?? 0] ?? 0
  const rest = (set[whole] ?? 0) & ((1 << (bits & 7)) - 1)
  return count + (ones[rest] ?? 0)
}

/** Unites a bitset of the same length into `target`, four bytes at a time where they allow it. */
export function uniteInto(target: Uint8Array, set: Uint8Array): void {
  const words = asUint32Views(target, set)
  if (words) for (let i = 0; i < words.a.length; i++) words.a[i] = (words.a[i] ?? 0) | (words.b[i] ?? 0)
  for (let i = words ? words.a.length * 4 : 0; i < target.length; i++) target[i] = (target[i] ?? 0) | (set[i] ?? 0)
}

/** Intersects `target` with a bitset, likewise. */
export function intersectInto(target: Uint8Array, set: Uint8Array): void {
  const words = asUint32Views(target, set)
  if (words) for (let i = 0; i < words.a.length; i++) words.a[i] = (words.a[i] ?? 0) & (words.b[i] ?? 0)
  for (let i = words ? words.a.length * 4 : 0; i < target.length; i++) target[i] = (target[i] ?? 0) & (set[i] ?? 0)
}

/** The whole 32-bit words of two bitsets of one length; undefined where they do not begin at a word. */
function asUint32Views(a: Uint8Array, b: Uint8Array): { readonly a: Uint32Array; readonly b: Uint32Array } | undefined {
  if (a.byteOffset % 4 !== 0 || b.byteOffset % 4 !== 0) return undefined
  const words = a.length >> 2
  return { a: new Uint32Array(a.buffer, a.byteOffset, words), b: new Uint32Array(b.buffer, b.byteOffset, words) }
}

/** A bitset of 0s and 1s in arrays laid end to end. */
export function packBits(arrays: readonly ArrayLike<number>[]): Uint8Array {
  const set = new Uint8Array(Math.ceil(arrays.reduce((sum, { length }) => sum + length, 0) / 8))
  let bit = 0
  for (const array of arrays)
    for (let i = 0; i < array.length; i++, bit++) if (array[i]) set[bit >> 3] = (set[bit >> 3] ?? 0) | (1 << (bit & 7))
  return set
}
