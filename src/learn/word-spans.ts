// Finds the predictions of labelled words: those of the served words that begin in them.

import type { Span } from '../formats/word-rule.js'

/**
 * For each span, the index of the first found word that begins in it; −1 if there is none.
 * @param spans sorted by position, as `found` is
 */
export function wordsBeginningIn(
  spans: readonly Span[],
  found: readonly { readonly start: number }[],
): readonly number[] {
  let at = 0
  return spans.map(({ start, end }) => {
    while (at < found.length && (found[at]?.start ?? 0) < start) at++
    const first = found[at]?.start
    return first !== undefined && first < end ? at : -1
  })
}
