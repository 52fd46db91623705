// Tokenised texts, stored one after another in two growing arrays: a few bytes per token, however many texts.

import { GrowingArray } from './growing-array.js'

/** The tokens of one text, as views of the table. */
export interface TokenSpan {
  readonly inputIds: Uint16Array | Int32Array
  readonly tokenTypeIds: Uint8Array
}

export class TokenTable {
  readonly #ids: GrowingArray<Uint16Array | Int32Array>
  readonly #types = new GrowingArray(new Uint8Array())
  /** Start index of each text, and the end of the last one. */
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
