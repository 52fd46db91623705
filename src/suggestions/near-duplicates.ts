// Texts that differ only in case, punctuation or spaces: labelling one of them is enough.

import type { Text } from '../backbones/tokenizer.js'

/** Equal for near-duplicates. */
export const nearDuplicateKey = ({ text, textPair = '' }: Text): string => `${contentOf(text)}\0${contentOf(textPair)}`

/** Its letters, digits and symbols: an emoji can decide. */
function contentOf(text: string): string {
  const content = text
    .normalize('NFKC')
    .toLowerCase()
    .replaceAll(/[\p{P}\p{Z}\p{C}]+/gu, ' ')
    .trim()
  // A text that has none is its own content.
  return content === '' ? text.trim() : content
}
