// What the scheduler itself costs while very much waits: 100,000 rows of 10,000 tasks of 100 tenants.

import type { SchedulableRow } from '../../src/scheduler/flows.js'
import { RowQueue } from '../../src/scheduler/queue.js'
import { type Benchmark, median, summary } from '../support/figures.js'
import { randomBytes } from '../support/material.js'

const rows = 100_000
const tasks = 10_000
const tenants = 100
const repeats = 5
const estimates = 1_000

export const queue: Benchmark = async (say) => {
  const perRow: number[] = []
  const perEstimate: number[] = []
  for (let repeat = 0; repeat < repeats; repeat++) {
    const random = randomBytes(repeat + 1)
    const waiting = Array.from({ length: rows }, (_, index): SchedulableRow => {
      const task = random() * 256 + random()
      const name = `t${task % tasks}`
      const tokens = 4 + random()
      return {
        tenant: `o${task % tenants}`,
        weight: 1,
        task: name,
        maskKey: name,
        tokens,
        cost: tokens,
        deadline: index,
      }
    })
    const all = new RowQueue<SchedulableRow>()
    const entered = cpuUs(() => {
      for (const row of waiting) all.add(row)
    })
    const estimated = cpuUs(() => {
      for (let i = 0; i < estimates; i++)
        all.tokensUntilServed(
          { tenant: `o${i % tenants}`, weight: 1 },
          new Map([[`t${i}`, { tokens: 25, cost: 25 }]]),
          rows,
        )
    })
    const left = cpuUs(() => {
      while (all.size > 0) all.next(0, { maxTokens: 1024, maxMasks: 256 })
    })
    perRow.push((entered + left) / rows)
    perEstimate.push(estimated / estimates)
    say(`queue: ${repeat + 1} of ${repeats} repeats`)
  }
  return [
    {
      what: '100,000 rows of 10,000 tasks wait: time of the scheduler for a row, to enter the queue and to leave it in a batch',
      unit: 'µs',
      ...summary(perRow),
      target: { atMost: 20 },
      notes: { 'estimate of a wait, µs': median(perEstimate) },
    },
  ]
}

/** Processor time of a piece of work, in microseconds: others on the machine do not count. */
function cpuUs(work: () => void): number {
  const before = process.cpuUsage()
  work()
  const { user, system } = process.cpuUsage(before)
  return user + system
}
