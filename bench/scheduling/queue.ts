// Processor time of the scheduler under a very long queue: 100,000 rows of 10,000 tasks of 100 tenants.

import { setImmediate as yieldToEvents } from 'node:timers/promises'
import type { SchedulableRow } from '../../src/scheduler/flows.js'
import { RowQueue } from '../../src/scheduler/queue.js'
import { type Benchmark, median, summary } from '../support/figures.js'
import { byteSequence } from '../support/material.js'

const rows = 100_000
const tasks = 10_000
const tenants = 100
const rounds = 5
const estimates = 1_000
const limits = { maxTokens: 1024, maxMasks: 256 }

export const queue: Benchmark = async (log) => {
  const perRow: number[] = []
  const perEstimate: number[] = []
  for (let round = 0; round < rounds; round++) {
    const random = byteSequence(round + 1)
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
    const queue = new RowQueue<SchedulableRow>(limits)
    const adding = cpuMicroseconds(() => {
      for (const row of waiting) queue.add(row)
    })
    const estimating = cpuMicroseconds(() => {
      for (let i = 0; i < estimates; i++)
        queue.tokensUntilServed(
          { tenant: `o${i % tenants}`, weight: 1 },
          new Map([[`t${i}`, { tokens: 25, cost: 25 }]]),
          rows,
        )
    })
    const taking = cpuMicroseconds(() => {
      while (queue.size > 0) queue.next(0, limits)
    })
    perRow.push((adding + taking) / rows)
    perEstimate.push(estimating / estimates)
    log(`queue: round ${round + 1} of ${rounds}`)
    // Lets the process handle SIGINT.
    await yieldToEvents()
  }
  return [
    {
      name: 'Scheduler with 100,000 waiting rows of 10,000 tasks: processor time to queue a row and take it in a batch',
      unit: 'µs',
      ...summary(perRow),
      target: { atMost: 20 },
      notes: { 'estimate of a waiting time, µs': median(perEstimate) },
    },
  ]
}

/** Processor time of this process, so that other processes do not count. */
function cpuMicroseconds(work: () => void): number {
  const before = process.cpuUsage()
  work()
  const { user, system } = process.cpuUsage(before)
  return user + system
}
