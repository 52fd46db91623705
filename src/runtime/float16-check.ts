// Checks whether float16 is accurate enough for a model on this device. Before it serves, it is compared with float32 on
// real texts.

import type { Deviation, Float16Session } from './float16-session.js'
import { sampleMasks, sampleRows } from './samples.js'
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

/** Compares float16 and float32 on the sample texts. The contents of the bank are overwritten. */
export async function checkFloat16(session: Float16Session, options: SessionOptions): Promise<Float16Check> {
  const texts = await sampleRows(options.backbone)
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

/** Loads the sample masks, and assigns them to the texts in turn. */
async function loadMasks(
  session: Float16Session,
  { prototype, slots }: SessionOptions,
  texts: number,
): Promise<Int32Array<ArrayBuffer>> {
  if (prototype === undefined) return new Int32Array(0)
  const masks = sampleMasks(prototype, slots)
  await session.load(masks)
  return Int32Array.from({ length: texts }, (_, text) => text % masks.slots.length)
}
