// Checks whether float16 is accurate enough for a model on this device. Before it serves, it is compared with float32 on
// real texts.

import { TextTokenizer } from '../backbones/tokenizer.js'
import type { Deviation, Float16Session } from './float16-session.js'
import type { TokenRow } from './packed-rows.js'
import type { SessionOptions } from './session.js'

/**
 * The largest allowed distances ‖a − b‖ / ‖b‖ of pooled vectors. Rounding in float16 causes about 0.001. At these bounds a
 * label changes only if two labels have nearly the same score.
 */
export const bounds: Deviation = { fromFloat32: 0.01, fromBatch: 0.005 }

export interface Float16Check {
  readonly within: boolean
  /** The result as a sentence for the log. */
  readonly finding: string
}

/** Compares float16 and float32 on the texts of this file. The contents of the bank are overwritten. */
export async function checkFloat16(session: Float16Session, options: SessionOptions): Promise<Float16Check> {
  const texts = await tokenised(options)
  const found = await session.compare(texts, await loadMasks(session, options, texts.length))
  if (!Number.isFinite(found.fromFloat32)) return { within: false, finding: 'float16 overflows on some texts' }
  const against = (name: keyof Deviation) => `${percent(found[name])} (at most ${percent(bounds[name])})`
  return {
    within: found.fromFloat32 <= bounds.fromFloat32 && found.fromBatch <= bounds.fromBatch,
    finding:
      `on ${texts.length} texts float16 differs from float32 by ${against('fromFloat32')}, ` +
      `and a text alone differs from the same text in a batch by ${against('fromBatch')}`,
  }
}

const percent = (share: number): string => `${(100 * share).toFixed(3)} %`

async function tokenised({ backbone }: SessionOptions): Promise<readonly TokenRow[]> {
  const tokenizer = await TextTokenizer.open(backbone)
  return Promise.all(
    sentences.map(async (text, at): Promise<TokenRow> => {
      const { inputIds, tokenTypeIds } = await tokenizer.encode({ text })
      return { inputIds, tokenTypeIds, pooling: at % 4 === 3 ? 'cls' : 'mean' }
    }),
  )
}

/** Loads masks with all bits, no bits, and half of the bits, and assigns them to the texts in turn. */
async function loadMasks(
  session: Float16Session,
  { prototype, slots }: SessionOptions,
  texts: number,
): Promise<Int32Array<ArrayBuffer>> {
  if (prototype === undefined) return new Int32Array(0)
  const size = prototype.layers * prototype.maskBytes
  const masks = [() => 0xff, () => 0, (at: number) => (at * 167 + (at >> 3) * 29 + 11) & 0xff].slice(0, slots)
  const bitsets = new Uint8Array(masks.length * size)
  for (const [slot, byte] of masks.entries()) for (let at = 0; at < size; at++) bitsets[slot * size + at] = byte(at)
  await session.load({ slots: [...masks.keys()], planes: masks.map(() => 1), bitsets })
  return Int32Array.from({ length: texts }, (_, text) => text % masks.length)
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
