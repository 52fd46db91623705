// Words as a data file has them, between white space, beside those that a tokenizer tells apart: "U.S." is one of the
// former and may be four of the latter. The label of the former is that of the first of the latter.

import type { WordSpan } from './examples.js'

/**
 * For each span the first of the found words that begins in it, by its number; −1 if none does.
 * @param spans in the order of the text, and so are the found words
 */
export function wordsBeginningIn(
  spans: readonly WordSpan[],
  found: readonly { readonly start: number }[],
): readonly number[] {
  let at = 0
  return spans.map(({ start, end }) => {
    while (at < found.length && (found[at]?.start ?? 0) < start) at++
    const first = found[at]?.start
    return first !== undefined && first < end ? at : -1
  })
}
