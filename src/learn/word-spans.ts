// Matches the words of a data file, which white space separates, with the words that a tokenizer finds: "U.S." is one
// word of the file, and the tokenizer may find four. The file's word takes the prediction of the first of them.

import type { WordSpan } from '../data/examples.js'

/**
 * For each span, the index of the first found word that begins in it; −1 if there is none.
 * @param spans sorted by position, as `found` is
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
