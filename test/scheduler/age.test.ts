// Service by age: at even load no row waits much longer than the others, and floods gain nothing from it.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { SchedulableRow } from '../../src/scheduler/flows.js'
import { RowQueue } from '../../src/scheduler/queue.js'
import { batchMs, flood, type Outcome, simulate } from './simulation.js'

const limits = { maxTokens: 100, maxMasks: 20 }
const row = (task: string, tokens: number, deadline = 1_000): SchedulableRow => ({
  tenant: '',
  weight: 1,
  task,
  maskKey: task,
  tokens,
  cost: tokens,
  deadline,
})

/** The mean lengths of the texts of the bundled tasks, in tokens. */
const lengths = [5, 11, 13, 14, 15, 21, 22, 23, 24, 28, 52, 68]
const machine = { engines: 2, maxTokens: 624, taskTokens: 78 }
const ms = ({ arrivedAt, endedAt }: Outcome) => endedAt - arrivedAt
const p99 = (outcomes: readonly Outcome[]) => {
  const sorted = outcomes.map(ms).sort((a, b) => a - b)
  return sorted[Math.floor(0.99 * sorted.length)] ?? Number.NaN
}

describe('at even load', () => {
  test('the p99 latency of 16 and 64 clients is at most 2.5 times that of an even queue, and of 256 clients 3.5 times', async () => {
    for (const [clients, most] of [
      [16, 2.5],
      [64, 2.5],
      [256, 3.5],
    ] as const) {
      const simulation = simulate(machine)
      let sent = 0
      const next = () => {
        const task = sent++ % lengths.length
        return { task: `${task}`, tokens: [lengths[task] ?? 1] }
      }
      flood(simulation, clients, next, 20_000)
      await simulation.clock.run(20_000)
      const settled = simulation.outcomes.filter(({ arrivedAt }) => arrivedAt > 5_000)
      const evenMs = (clients * 15_000) / settled.length
      assert.ok(
        p99(settled) <= most * evenMs,
        `${clients} clients: ${p99(settled)} ms, and ${evenMs} ms in an even queue`,
      )
      const meanTokens = lengths.reduce((sum, tokens) => sum + tokens, 0) / lengths.length
      const possible = (2 * 15_000) / (batchMs(machine.maxTokens) / machine.maxTokens) / meanTokens
      assert.ok(settled.length > 0.8 * possible, `${settled.length} of ${possible} texts`)
    }
  })

  test('a row waits for little more than the rows that arrived before it, for tasks with equally many rows of any lengths', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 100 }), { minLength: 2, maxLength: 12 }), (tokens) => {
        const queue = new RowQueue(limits)
        /** For each row: the tokens that had been served when it arrived, and those that waited then. */
        const arrived = new Map<SchedulableRow, { readonly served: number; readonly waiting: number }>()
        let served = 0
        const add = (task: string) => {
          const next = row(task, tokens[Number(task)] ?? 1)
          queue.add(next)
          arrived.set(next, { served, waiting: queue.tokens })
        }
        // Each task always has four rows.
        for (let rows = 0; rows < 4; rows++) tokens.forEach((_, task) => void add(`${task}`))
        for (let batch = 0; batch < 200; batch++) {
          const rows = queue.next(0, limits).batch
          for (const each of rows) served += each.tokens
          for (const each of rows) {
            const { served: before = 0, waiting = 0 } = arrived.get(each) ?? {}
            const waited = served - before
            assert.ok(waited <= 2 * waiting + 3 * limits.maxTokens, `${waited} tokens, ${waiting} waited before`)
            add(each.task)
          }
        }
      }),
      { numRuns: 60 },
    )
  })

  test('a task that was served by age does not wait longer afterwards', () => {
    const queue = new RowQueue(limits)
    let added = 0
    const add = () => queue.add(added++ % 2 === 0 ? row('long', 90) : row('short', 5))
    for (let rows = 0; rows < 8; rows++) add()
    for (let batch = 0; batch < 500; batch++) for (const _ of queue.next(0, limits).batch) add()
    while (queue.size > 0) queue.next(0, limits)
    for (let rows = 0; rows < 500; rows++) queue.add(row('short', 5))
    queue.next(0, limits)
    const long = row('long', 90)
    queue.add(long)
    assert.ok([0, 1].some(() => queue.next(0, limits).batch.includes(long)))
  })
})

describe('a flood', () => {
  test('does not delay a task with few rows by the age of its rows', () => {
    const queue = new RowQueue(limits)
    const refill = () => {
      while (queue.size < 500) queue.add(row('flood', 20))
    }
    refill()
    for (let batch = 0; batch < 300; batch++) {
      queue.next(0, limits)
      refill()
      if (batch % 3 > 0) continue
      const quiet = row('quiet', 20)
      queue.add(quiet)
      assert.ok(
        [0, 1].some(() => queue.next(0, limits).batch.includes(quiet)),
        `after ${batch} batches`,
      )
    }
  })

  test('of urgent rows gains nothing from an old row of its task', () => {
    const queue = new RowQueue(limits)
    queue.add(row('flood', 20))
    const served = { flood: 0, other: 0 }
    for (let batch = 0; batch < 400; batch++) {
      for (const task of ['flood', 'other'] as const)
        while (queue.rowsOf('', task).task < 50) queue.add(row(task, 20, task === 'flood' ? 10 : 1_000))
      for (const each of queue.next(0, limits).batch) served[each.task as keyof typeof served] += each.tokens
    }
    assert.ok(Math.abs(served.flood - served.other) <= 6 * limits.maxTokens, `${served.flood} and ${served.other}`)
  })
})
