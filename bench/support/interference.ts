// Clients by themselves and beside others, in turns: how much longer their slowest answers take.

import { setTimeout as pause } from 'node:timers/promises'
import type { LoadRequest } from './closed-loop.js'
import { inTurns, median, summary } from './figures.js'
import { LoadProcess } from './process.js'

interface Stoppable {
  stop(): void
}

export interface Beside {
  readonly turns: number
  /** What is measured, alone and beside. */
  readonly load: LoadRequest
  /** Starts the others; how they are stopped again. */
  readonly others: () => Stoppable | Promise<Stoppable>
  /** Until the others have come, and until they have gone, in milliseconds. */
  readonly comeMs: number
  readonly goMs: number
  /** Called beside the others, once the load was. */
  readonly observe?: () => Promise<void>
  readonly told: (turn: number) => void
}

/** @returns a figure's values: the ratio of the 99th percentiles, and notes on both sides */
export async function besideOthers({ turns, load: request, others, comeMs, goMs, observe, told }: Beside) {
  const load = new LoadProcess()
  const middles: { alone: number[]; beside: number[] } = { alone: [], beside: [] }
  const rates: { alone: number[]; beside: number[] } = { alone: [], beside: [] }
  const measure = async (side: keyof typeof middles) => {
    const { p50Ms, p99Ms, perSecond } = await load.run(request)
    middles[side].push(p50Ms)
    rates[side].push(perSecond)
    return p99Ms
  }
  await load.run(request)
  const { a, b, ratios } = await inTurns(
    turns,
    async () => {
      const beside = await others()
      await pause(comeMs)
      const p99 = await measure('beside')
      await observe?.()
      beside.stop()
      await pause(goMs)
      return p99
    },
    () => measure('alone'),
    told,
  )
  load.stop()
  return {
    ...summary(ratios),
    notes: {
      'p99 ms beside': median(a),
      'p99 ms alone': median(b),
      'p50 ms beside': median(middles.beside),
      'p50 ms alone': median(middles.alone),
      'texts/s beside': median(rates.beside),
      'texts/s alone': median(rates.alone),
    },
  }
}
