// A float16 session and a float32 session on the same device. Batches run in float16. Rows that overflow in float16, and
// batches with masks that the float16 bank cannot hold, run in float32.

import type { Loads } from './bank.js'
import { type PackedRows, packRows, selectRows, type TokenRow } from './packed-rows.js'
import type { Provider } from './providers.js'
import { EngineSession, type ServingSession, type SessionOptions, type SessionResult } from './session.js'

/** The largest distance ‖a − b‖ / ‖b‖ of pooled vectors over all texts. */
export interface Deviation {
  /** Between float16, alone or in a batch, and float32. */
  readonly fromFloat32: number
  /** Between a text alone and the same text in a batch, both in float16. */
  readonly fromBatch: number
}

type Part = Pick<EngineSession, 'load' | 'run' | 'release' | 'holdsAll'>

export class Float16Session implements ServingSession {
  constructor(
    readonly provider: Provider,
    readonly half: Part,
    readonly full: Part,
    /** H */
    readonly hiddenSize: number,
  ) {}

  static async open(provider: Provider, options: SessionOptions): Promise<Float16Session> {
    const full = await EngineSession.open(provider, 'float32', options)
    try {
      const half = await EngineSession.open(provider, 'float16', options)
      return new Float16Session(provider, half, full, options.backbone.dims.hiddenSize)
    } catch (error) {
      await full.release()
      throw error
    }
  }

  async load(loads: Loads): Promise<void> {
    await this.full.load(loads)
    await this.half.load(loads)
  }

  async run(rows: PackedRows, slots: Int32Array<ArrayBuffer>, withHidden: boolean): Promise<SessionResult> {
    if (!this.half.holdsAll(slots)) return this.full.run(rows, slots, withHidden)
    const result = await this.half.run(rows, slots, withHidden)
    const wrong = this.#rowsWithout(result, rows)
    if (wrong.length === 0) return result
    const ownSlots = slots.length === 0 ? slots : Int32Array.from(wrong, (row) => slots[row] ?? 0)
    const again = await this.full.run(selectRows(rows, wrong), ownSlots, withHidden)
    const H = this.hiddenSize
    let first = 0
    for (const [at, row] of wrong.entries()) {
      result.pooled.set(again.pooled.subarray(at * H, (at + 1) * H), row * H)
      const [start, end] = tokensOf(rows, row)
      result.hidden?.set(again.hidden?.subarray(first * H, (first + end - start) * H) ?? [], start * H)
      first += end - start
    }
    return { ...result, recomputed: wrong.length }
  }

  /** Runs the texts as one batch in float32 and in float16, and each text alone in float16, and compares the vectors. */
  async compare(texts: readonly TokenRow[], slots: Int32Array<ArrayBuffer>): Promise<Deviation> {
    const expected = this.#vectors(await this.full.run(packRows(texts), slots, false))
    const together = this.#vectors(await this.half.run(packRows(texts), slots, false))
    const worst = { fromFloat32: 0, fromBatch: 0 }
    for (const [row, text] of texts.entries()) {
      const [alone] = this.#vectors(await this.half.run(packRows([text]), slots.slice(row, row + 1), false))
      const [inBatch, exact] = [together[row], expected[row]]
      if (!alone || !inBatch || !exact) throw new Error(`row ${row} has no vector`)
      const distances = [relativeDistance(inBatch, exact), relativeDistance(alone, exact)]
      worst.fromFloat32 = Math.max(worst.fromFloat32, ...distances)
      worst.fromBatch = Math.max(worst.fromBatch, relativeDistance(alone, inBatch))
    }
    return worst
  }

  async release(): Promise<void> {
    await this.half.release()
    await this.full.release()
  }

  #vectors({ pooled }: SessionResult): readonly Float32Array[] {
    const H = this.hiddenSize
    return Array.from({ length: pooled.length / H }, (_, row) => pooled.subarray(row * H, (row + 1) * H))
  }

  /** The rows with results that are infinite or NaN. */
  #rowsWithout({ pooled, hidden }: SessionResult, rows: PackedRows): number[] {
    if (areNumbers(pooled) && (hidden === undefined || areNumbers(hidden))) return []
    const H = this.hiddenSize
    return Array.from({ length: rows.rows }, (_, row) => row).filter((row) => {
      const [start, end] = tokensOf(rows, row)
      return (
        !areNumbers(pooled.subarray(row * H, (row + 1) * H)) ||
        (hidden !== undefined && !areNumbers(hidden.subarray(start * H, end * H)))
      )
    })
  }
}

/** Whether all values are finite. A sum in float64 of finite values in float32 is finite, and a sum with any other is not. */
function areNumbers(values: Float32Array): boolean {
  // Four sums: a single one waits for each addition.
  let [a, b, c, d] = [0, 0, 0, 0]
  for (let i = 0; i < values.length; i += 4) {
    a += values[i] ?? 0
    b += values[i + 1] ?? 0
    c += values[i + 2] ?? 0
    d += values[i + 3] ?? 0
  }
  return Number.isFinite(a + b + c + d)
}

const tokensOf = ({ cumulativeLengths }: PackedRows, row: number): readonly [first: number, end: number] => [
  cumulativeLengths[row] ?? 0,
  cumulativeLengths[row + 1] ?? 0,
]

/** ‖a − b‖ / ‖b‖ */
export function relativeDistance(a: Float32Array, b: Float32Array): number {
  let difference = 0
  let length = 0
  for (let i = 0; i < b.length; i++) {
    difference += ((a[i] ?? Number.NaN) - (b[i] ?? 0)) ** 2
    length += (b[i] ?? 0) ** 2
  }
  const distance = Math.sqrt(difference / length)
  return Number.isFinite(distance) ? distance : Number.POSITIVE_INFINITY
}
