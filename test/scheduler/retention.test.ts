// The queue keeps no memory for rows that have left it. Measured after garbage collection.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { BatchLimits } from '../../src/scheduler/batch.js'
import type { SchedulableRow } from '../../src/scheduler/flows.js'
import { RowQueue } from '../../src/scheduler/queue.js'
import { type Flow, IdleFlows, Turns } from '../../src/scheduler/turns.js'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

interface Row extends SchedulableRow {
  /** Stands for the data of a row: its tokens and its bitset. */
  readonly bytes: number[]
}

const row = (tokens: number, options: Partial<SchedulableRow> = {}): Row => ({
  tenant: '',
  weight: 1,
  task: 'a',
  maskKey: 'a',
  tokens,
  cost: tokens,
  deadline: Number.POSITIVE_INFINITY,
  bytes: new Array<number>(tokens).fill(7),
  ...options,
})

const auto: BatchLimits = { maxTokens: 672, taskTokens: 84, maxMasks: 256 }

/** Bytes of the heap after garbage collection. */
async function heapBytes(): Promise<number> {
  await setImmediate()
  collect()
  collect()
  return process.memoryUsage().heapUsed
}

/** The random generator of Park and Miller; returns integers below a bound. */
function wholeNumbers(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state * 48_271) % 2_147_483_647
    return state % below
  }
}

describe('the queue keeps nothing', () => {
  for (const [tokens, tenants, tasks] of [
    [60, 1, 10],
    [512, 1, 1],
    [512, 1, 2],
    [512, 1, 10],
    [512, 5, 5],
    [120, 5, 5],
  ] as const)
    test(`of 20,000 served rows of ${tokens} tokens, ${tenants} tenants and ${tasks} tasks`, async () => {
      const queue = new RowQueue<Row>(auto)
      const before = await heapBytes()
      for (let i = 0; i < 20_000; i++) {
        queue.add(row(tokens, { tenant: `t${i % tenants}`, task: `k${i % tasks}` }))
        while (queue.size > 0) queue.next(0, auto)
      }
      const grown = (await heapBytes()) - before
      assert.ok(grown < 500_000, `${grown} bytes after ${queue.size} rows wait`)
    })

  /** Adds rows, and takes out most of them in every way. It is a function so that its own variables keep no row. */
  function fillAndServe() {
    const whole = wholeNumbers(7)
    const queue = new RowQueue<Row>(auto)
    const waiting = new Set<Row>()
    const all: WeakRef<Row>[] = []
    let now = 0
    for (let step = 0; step < 6_000; step++) {
      const task = `k${whole(200)}`
      const tokens = 1 + whole([8, 100, 2_000][whole(3)] ?? 1)
      const added = row(tokens, { tenant: `t${whole(9)}`, task, maskKey: task, deadline: now + whole(500) })
      all.push(new WeakRef(added))
      queue.add(added)
      waiting.add(added)
      const taken =
        step % 7 === 0 ? queue.takeExpired(now) : step % 2 === 0 ? Object.values(queue.next(now, auto)).flat() : []
      for (const each of taken) waiting.delete(each)
      const [first] = waiting
      if (step % 5 === 0 && first !== undefined) assert.equal(queue.remove(first), waiting.delete(first))
      now += whole(4)
    }
    return { queue, waiting, all }
  }

  test('of rows that were served, removed, late or expired, while others wait', async () => {
    const { queue, waiting, all } = fillAndServe()
    assert.equal(queue.size, waiting.size)
    assert.ok(queue.size > 0)
    await heapBytes()
    const alive = all.filter((each) => each.deref() !== undefined).length
    assert.equal(alive, waiting.size)
  })

  test('of tasks and tenants that come once, while another always waits', async () => {
    for (const each of ['task', 'tenant'] as const) {
      const batch = { maxTokens: 400, maxMasks: 4 }
      const queue = new RowQueue<Row>(batch)
      const addOnce = (from: number, to: number) => {
        for (let i = from; i < to; i++) {
          while (queue.size < 3) queue.add(row(300, { task: 'waits', maskKey: 'waits' }))
          queue.add(row(100, { [each]: `x${i}`, maskKey: `x${i}` }))
          queue.next(0, batch)
        }
      }
      addOnce(0, 20_000)
      const before = await heapBytes()
      addOnce(20_000, 60_000)
      const grown = (await heapBytes()) - before
      assert.ok(grown < 500_000, `${grown} bytes for 40,000 of a ${each}`)
    }
  })
})

describe('flows without rows', () => {
  interface Counted extends Flow {
    rows: number
  }
  const flow = (id: string): Counted => ({
    id,
    turn: 0,
    weight: 1,
    rows: 0,
    tokens: 0,
    cost: 0,
    rowsOfLength: [],
  })
  /** Serves one row of a flow. */
  const serve = (turns: Turns<Counted>, served: Counted) => {
    turns.enter(served, 0, 1)
    served.rows = 1
    turns.served(served, 10)
    served.rows = 0
    turns.leave(served, 0)
  }

  test('are remembered up to a bound that several groups share, and the longest idle flow is forgotten first', () => {
    const forgotten: string[] = []
    const idle = new IdleFlows<Counted>(3)
    const groups = [0, 1].map(() => new Turns<Counted>(idle, ({ id }) => forgotten.push(id)))
    for (const [index, id] of ['a', 'b', 'c', 'd', 'e'].entries()) {
      const turns = groups[index % 2]
      if (turns !== undefined) serve(turns, flow(id))
    }
    assert.equal(idle.size, 3)
    assert.deepEqual(forgotten, ['a', 'b'])
    assert.deepEqual(
      groups.map(({ flows }) => [...flows.keys()]),
      [['c', 'e'], ['d']],
    )
  })

  test('are forgotten once a leading flow has been served as much', () => {
    const turns = new Turns<Counted>(new IdleFlows(10))
    const [ahead, leader] = [flow('ahead'), flow('leader')]
    turns.enter(leader, 0, 1)
    leader.rows = 1
    serve(turns, ahead)
    assert.equal(turns.lead(), leader)
    assert.deepEqual([...turns.flows.keys()], ['leader', 'ahead'])
    turns.served(leader, 10)
    assert.equal(turns.lead(), leader)
    assert.deepEqual([...turns.flows.keys()], ['leader'])
  })
})
