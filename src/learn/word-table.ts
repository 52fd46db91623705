// The words of texts end to end: which token of its text each begins with. Two bytes a word.

import { GrowingArray } from './growing-array.js'

/** A word has none if its text was cut before it, or the tokenizer leaves all of it out. */
export const noToken = 0xffff

export class WordTable {
  readonly #tokens = new GrowingArray(new Uint16Array())
  /** Where the words of each text begin, and where the last ones end. */
  readonly #starts = new GrowingArray(Float64Array.of(0))

  /** @param tokens for each word of a text its first token, or noToken */
  add(tokens: ArrayLike<number>): void {
    this.#tokens.append(tokens)
    this.#starts.append([this.#tokens.length])
  }

  /** Numbers of a text's words, through all texts: the first, and the one after the last. */
  range(text: number): { readonly start: number; readonly end: number } {
    return { start: this.#starts.at(text), end: this.#starts.at(text + 1) }
  }

  /** First tokens of a text's words: a view. */
  tokens(text: number): Uint16Array {
    const { start, end } = this.range(text)
    return this.#tokens.view(start, end)
  }

  /** Words that have no token. */
  get missing(): number {
    return this.#tokens.view().reduce((count, token) => count + (token === noToken ? 1 : 0), 0)
  }
}
