// Texts and masks that resemble those of users, to measure a model with before it serves.

import type { Backbone } from '../backbones/backbone.js'
import { TextTokenizer } from '../backbones/tokenizer.js'
import type { Prototype } from '../petl/prototype.js'
import type { Loads } from './bank.js'
import type { TokenRow } from './packed-rows.js'

/** The texts below, tokenised. One in four is pooled by its first token, the others by the mean. */
export async function sampleRows(backbone: Backbone): Promise<readonly TokenRow[]> {
  const tokenizer = await TextTokenizer.open(backbone)
  return Promise.all(
    sentences.map(async (text, at): Promise<TokenRow> => {
      const { inputIds, tokenTypeIds } = await tokenizer.encode({ text })
      return { inputIds, tokenTypeIds, pooling: at % 4 === 3 ? 'cls' : 'mean' }
    }),
  )
}

/** Masks with all bits, no bits, and half of the bits, in the first slots of a bank. */
export function sampleMasks({ layers, maskBytes }: Prototype, slots: number): Loads {
  const size = layers * maskBytes
  const masks = [() => 0xff, () => 0, (at: number) => (at * 167 + (at >> 3) * 29 + 11) & 0xff].slice(0, slots)
  const bitsets = new Uint8Array(masks.length * size)
  for (const [slot, byte] of masks.entries()) for (let at = 0; at < size; at++) bitsets[slot * size + at] = byte(at)
  return { slots: [...masks.keys()], planes: masks.map(() => 1), bitsets }
}

const paragraph =
  'The committee met on Tuesday to discuss the budget for the coming year. Several members asked whether the figures ' +
  'for 2023 had been audited, and the treasurer answered that they had, although the report was not yet public. After a ' +
  'long debate about heating costs, school buses and the bridge on Mill Street, the vote was postponed until March. '

/** From one word to more than most models read: questions, opinions, statements, code and other scripts. */
const sentences: readonly string[] = [
  'No.',
  'thanks',
  'What is the capital of Australia?',
  'The film is a complete waste of two hours, and the ending makes it worse.',
  'One of the most moving performances of the year!',
  'I would like to transfer 250 dollars to my savings account.',
  'why was my card payment declined yesterday???',
  'The cat that the dog chased slept on the roof.',
  'A man is playing a guitar on the street while people walk past him.',
  'Nobody has ever seen the far side of the moon from the ground.',
  'for (let i = 0; i < n; i++) total += prices[i] * amounts[i]',
  'HTTP/1.1 503 Service Unavailable\r\nRetry-After: 120',
  'El tren a Sevilla sale a las siete y media del andén cuatro.',
  'Die Lieferung kam zu spät, aber der Kundendienst hat sich entschuldigt.',
  '今日の天気は晴れで、気温は二十五度です。',
  'Ｗｉｄｅ letters, émojis 🎉🎉 and "quotes" — all in one line…',
  '1 2 3 4 5 6 7 8 9 10 100 1,000 10,000 3.14159',
  'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA',
  'Set an alarm for 6:45 tomorrow morning and remind me to call Dr. Osei at noon.',
  'The results were statistically significant (p < 0.01) in both cohorts, which the authors had not expected.',
  paragraph,
  paragraph.repeat(2),
  paragraph.repeat(5),
  paragraph.repeat(12),
]
