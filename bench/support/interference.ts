// Measures clients alone and while other clients interfere, in alternation: how much longer their slowest responses take.

import { setTimeout as pause } from 'node:timers/promises'
import type { ClosedLoopRequest } from './closed-loop.js'
import { alternate, median, summary } from './figures.js'
import { ClosedLoopProcess } from './forked-script.js'

interface Stoppable {
  stop(): void
}

export interface Interference {
  readonly rounds: number
  /** The load that is measured. */
  readonly load: ClosedLoopRequest
  /** Starts the other clients. */
  readonly startOthers: () => Stoppable | Promise<Stoppable>
  /** Wait after starting the other clients, and after stopping them. */
  readonly startedMs: number
  readonly stoppedMs: number
  /** Called while the other clients still run, after the measurement. */
  readonly observe?: () => Promise<void>
  readonly onRound: (round: number) => void
}

/** @returns the ratio of the 99th percentiles as a figure's values, with notes on both sides */
export async function measureInterference({
  rounds,
  load: request,
  startOthers,
  startedMs,
  stoppedMs,
  observe,
  onRound,
}: Interference) {
  const load = new ClosedLoopProcess()
  const medians: { alone: number[]; loaded: number[] } = { alone: [], loaded: [] }
  const rates: { alone: number[]; loaded: number[] } = { alone: [], loaded: [] }
  const measure = async (side: keyof typeof medians) => {
    const { p50Ms, p99Ms, perSecond } = await load.run(request)
    medians[side].push(p50Ms)
    rates[side].push(perSecond)
    return p99Ms
  }
  await load.run(request)
  const { a, b, ratios } = await alternate(
    rounds,
    async () => {
      const others = await startOthers()
      await pause(startedMs)
      const p99 = await measure('loaded')
      await observe?.()
      others.stop()
      await pause(stoppedMs)
      return p99
    },
    () => measure('alone'),
    onRound,
  )
  load.stop()
  return {
    ...summary(ratios),
    notes: {
      'p99 with the others, ms': median(a),
      'p99 alone, ms': median(b),
      'p50 with the others, ms': median(medians.loaded),
      'p50 alone, ms': median(medians.alone),
      'with the others, texts/s': median(rates.loaded),
      'alone, texts/s': median(rates.alone),
    },
  }
}
