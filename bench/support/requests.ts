// Turns texts into prediction requests.

import type { TaskText } from './material.js'

/** A text, or a pair of texts, as one input of a request body. */
export const inputOf = ({ text, textPair }: Pick<TaskText, 'text' | 'textPair'>) => ({
  text,
  ...(textPair !== undefined && { text_pair: textPair }),
})

export const predictRequests = (texts: readonly TaskText[]) =>
  texts.map((text) => ({
    path: `/tasks/${text.task}/predict`,
    body: JSON.stringify({ inputs: text.textPair === undefined ? text.text : inputOf(text) }),
  }))
