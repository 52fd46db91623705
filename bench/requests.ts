// Texts as the requests that ask for their predictions.

import type { TaskText } from './material.js'

export const predictRequests = (texts: readonly TaskText[]) =>
  texts.map(({ task, text, textPair }) => ({
    path: `/tasks/${task}/predict`,
    body: JSON.stringify({ inputs: textPair === undefined ? text : { text, text_pair: textPair } }),
  }))
