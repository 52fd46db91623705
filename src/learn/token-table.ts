// Tokenised texts end to end in two growing arrays: a few bytes a token, whatever the number of texts.

import { GrowingArray } from './growing-array.js'

/** A text as it lies in the table: views, not copies. */
export interface TokenSpan {
  readonly inputIds: Uint16Array | Int32Array
  readonly tokenTypeIds: Uint8Array
}

export class TokenTable {
  readonly #ids: GrowingArray<Uint16Array | Int32Array>
  readonly #types = new GrowingArray(new Uint8Array())
  /** Where each text begins, and where the last one ends. */
  readonly #starts = new GrowingArray(Float64Array.of(0))

  constructor(vocabulary: number) {
    this.#ids = new GrowingArray<Uint16Array | Int32Array>(vocabulary <= 0x10000 ? new Uint16Array() : new Int32Array())
  }

  get texts(): number {
    return this.#starts.length - 1
  }

  add(inputIds: ArrayLike<number>, tokenTypeIds: ArrayLike<number>): void {
    this.#ids.append(inputIds)
    this.#types.append(tokenTypeIds)
    this.#starts.append([this.#ids.length])
  }

  length(text: number): number {
    return this.#starts.at(text + 1) - this.#starts.at(text)
  }

  span(text: number): TokenSpan {
    const start = this.#starts.at(text)
    const end = this.#starts.at(text + 1)
    return { inputIds: this.#ids.view(start, end), tokenTypeIds: this.#types.view(start, end) }
  }
}
