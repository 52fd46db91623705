// For each word of each text, the index of its first token: two bytes per word.

import { GrowingArray } from './growing-array.js'

/** Marks a word without token: its text was truncated before it, or the tokenizer drops it. */
export const noToken = 0xffff

export class WordTable {
  readonly #tokens = new GrowingArray(new Uint16Array())
  /** Start index of each text's words, and the end of the last one's. */
  readonly #starts = new GrowingArray(Float64Array.of(0))

  /** @param tokens the index of the first token of each word of a text, or noToken */
  add(tokens: ArrayLike<number>): void {
    this.#tokens.append(tokens)
    this.#starts.append([this.#tokens.length])
  }

  /** Range of a text's words in the whole table; the end is exclusive. */
  range(text: number): { readonly start: number; readonly end: number } {
    return { start: this.#starts.at(text), end: this.#starts.at(text + 1) }
  }

  /** First tokens of a text's words, as a view. */
  tokens(text: number): Uint16Array {
    const { start, end } = this.range(text)
    return this.#tokens.view(start, end)
  }

  /** Number of words without token. */
  get missing(): number {
    return this.#tokens.view().reduce((count, token) => count + (token === noToken ? 1 : 0), 0)
  }
}
