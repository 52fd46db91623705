// Tokenised rows end to end in two growing arrays: a few bytes a token, whatever the number of rows.

/** A row as it lies in the table: views, not copies. */
export interface TokenSpan {
  readonly inputIds: Uint16Array | Int32Array
  readonly tokenTypeIds: Uint8Array
}

export class TokenTable {
  #ids: Uint16Array | Int32Array
  #types = new Uint8Array(1024)
  /** Where each row begins, and where the last one ends. */
  #starts = new Float64Array(64)
  #rows = 0

  constructor(vocabulary: number) {
    this.#ids = vocabulary <= 0x10000 ? new Uint16Array(1024) : new Int32Array(1024)
  }

  get rows(): number {
    return this.#rows
  }

  add(inputIds: ArrayLike<number>, tokenTypeIds: ArrayLike<number>): void {
    const start = this.#starts[this.#rows] ?? 0
    const end = start + inputIds.length
    this.#ids = grown(this.#ids, end)
    this.#types = grown(this.#types, end)
    this.#starts = grown(this.#starts, this.#rows + 2)
    this.#ids.set(inputIds, start)
    this.#types.set(tokenTypeIds, start)
    this.#starts[++this.#rows] = end
  }

  length(row: number): number {
    return (this.#starts[row + 1] ?? 0) - (this.#starts[row] ?? 0)
  }

  span(row: number): TokenSpan {
    const start = this.#starts[row] ?? 0
    const end = this.#starts[row + 1] ?? 0
    return { inputIds: this.#ids.subarray(start, end), tokenTypeIds: this.#types.subarray(start, end) }
  }
}

function grown<T extends Uint8Array | Uint16Array | Int32Array | Float32Array | Float64Array>(
  array: T,
  length: number,
): T {
  if (length <= array.length) return array
  const larger = new (array.constructor as new (length: number) => T)(Math.max(length, 2 * array.length))
  larger.set(array)
  return larger
}
