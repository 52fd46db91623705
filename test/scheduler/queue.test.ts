import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { SchedulableRow } from '../../src/scheduler/flows.js'
import { RowQueue } from '../../src/scheduler/queue.js'

type Row = SchedulableRow & { readonly name: number }

let count = 0
const row = (tokens: number, options: Partial<Row> = {}): Row => ({
  name: count++,
  tenant: '',
  weight: 1,
  task: 'a',
  maskKey: options.task ?? 'a',
  tokens,
  cost: tokens,
  deadline: 100,
  ...options,
})
const limits = { maxTokens: 100, maxMasks: 10 }
const queueOf = (rows: readonly Row[]) => {
  const queue = new RowQueue<Row>(limits)
  for (const each of rows) queue.add(each)
  return queue
}
/** Task a was served a batch while ten other tasks had a row that did not fit. Its turn is most of a batch ahead. */
function aheadByABatch(): RowQueue<Row> {
  const queue = queueOf(Array.from({ length: 5 }, () => row(20)))
  for (let other = 0; other < 10; other++) queue.add(row(1, { task: `other ${other}` }))
  queue.next(0, limits)
  queue.next(0, limits)
  return queue
}
const tokensOf = (rows: readonly Row[]) => rows.reduce((sum, { tokens }) => sum + tokens, 0)

describe('a batch', () => {
  test('holds rows of similar length', () => {
    const queue = queueOf([row(10), row(60), row(11), row(62), row(12)])
    const tokens = () => queue.next(0, limits).batch.map((each) => each.tokens)
    assert.deepEqual(tokens().toSorted(), [10, 11, 12])
    assert.deepEqual(tokens(), [60])
    assert.deepEqual(tokens(), [62])
    assert.deepEqual(tokens(), [])
  })

  test('holds rows of any length while their padding costs no more than another batch', () => {
    const rows = [row(10), row(60), row(12)]
    // Padded to the longest row, they have 180 positions: twice their 82 tokens and 16 more.
    const taken = (freePlaces: number) => queueOf(rows).next(0, { ...limits, freePlaces }).batch.length
    assert.deepEqual([taken(15), taken(16)], [2, 3])
  })

  test('is a single row if the row is longer than the token budget', () => {
    const queue = queueOf([row(500), row(490), row(5)])
    assert.deepEqual(
      queue.next(0, limits).batch.map((each) => each.tokens),
      [500],
    )
  })

  test('leaves out rows that would be late and rows that were removed', () => {
    const [late, removed, good] = [row(10, { deadline: 5 }), row(10), row(10)]
    const queue = queueOf([late, removed, good])
    assert.deepEqual([queue.remove(removed), queue.remove(removed)], [true, false])
    assert.deepEqual(queue.next(6, limits), { batch: [good], late: [late] })
    assert.deepEqual([queue.size, queue.tokens], [0, 0])
  })

  test('is filled with rows of its own masks once it may hold no other mask', () => {
    const rows = Array.from({ length: 6 }, (_, i) => row(10, { task: `t${i % 3}` }))
    const { batch } = queueOf(rows).next(0, { maxTokens: 100, maxMasks: 2 })
    assert.deepEqual(batch.map(({ task }) => task).toSorted(), ['t0', 't0', 't1', 't1'])
  })

  test('keeps its limits and neither loses nor repeats a row, for any rows', () => {
    const anyRow = fc.record({
      tokens: fc.integer({ min: 1, max: 150 }),
      tenant: fc.constantFrom('x', 'y', 'z'),
      task: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
      deadline: fc.integer({ min: 0, max: 20 }),
      weight: fc.constantFrom(0.5, 1, 3),
    })
    const anyStep = fc.oneof(
      { weight: 4, arbitrary: anyRow.map((spec) => ({ kind: 'add' as const, spec })) },
      { weight: 1, arbitrary: fc.nat(9).map((after) => ({ kind: 'next' as const, after })) },
      { weight: 1, arbitrary: fc.nat().map((which) => ({ kind: 'remove' as const, which })) },
    )
    fc.assert(
      fc.property(fc.array(anyStep, { maxLength: 120 }), fc.integer({ min: 1, max: 4 }), (steps, maxMasks) => {
        const queue = new RowQueue<Row>(limits)
        const waiting = new Set<Row>()
        let now = 0
        const next = () => {
          const { batch, late } = queue.next(now, { maxTokens: 100, maxMasks })
          for (const each of [...batch, ...late]) assert.ok(waiting.delete(each), 'a row that was not waiting')
          assert.ok(late.every(({ deadline }) => deadline < now) && batch.every(({ deadline }) => deadline >= now))
          assert.ok(batch.length > 0 || waiting.size === 0, 'rows wait, but the batch is empty')
          const longest = Math.max(...batch.map(({ tokens }) => tokens))
          assert.ok(tokensOf(batch) <= 100 || batch.length === 1)
          assert.ok(batch.length === 0 || batch.length * longest <= 2 * tokensOf(batch), 'mostly padding')
          assert.ok(new Set(batch.map(({ maskKey }) => maskKey)).size <= maxMasks)
        }
        for (const step of steps) {
          if (step.kind === 'add') {
            const added = row(step.spec.tokens, { ...step.spec, deadline: now + step.spec.deadline })
            queue.add(added)
            waiting.add(added)
          } else if (step.kind === 'remove') {
            const which = [...waiting][step.which % Math.max(waiting.size, 1)]
            if (which) assert.equal(queue.remove(which), waiting.delete(which))
          } else {
            now += step.after
            next()
          }
          const tasks = new Set(Array.from(waiting, ({ tenant, task }) => tenant + task)).size
          assert.deepEqual([queue.size, queue.tokens, queue.tasks], [waiting.size, tokensOf([...waiting]), tasks])
        }
        while (queue.size > 0) next()
        assert.equal(waiting.size, 0)
      }),
    )
  })
})

describe('fairness', () => {
  test('gives a quiet task its turn at once while another task floods, in a batch of its own', () => {
    const queue = queueOf(Array.from({ length: 500 }, () => row(20, { task: 'flood' })))
    for (let batch = 0; batch < 10; batch++) queue.next(0, limits)
    const quiet = row(20, { task: 'quiet' })
    queue.add(quiet)
    assert.deepEqual(queue.next(0, limits).batch, [quiet])
    assert.equal(queue.next(0, limits).batch.length, 5)
  })

  test('lets tasks with equal backlogs share batches', () => {
    const queue = queueOf([])
    const served = new Map<string, number>()
    const tasks = Array.from({ length: 12 }, (_, i) => `t${i}`)
    for (let batch = 0; batch < 200; batch++) {
      for (const task of tasks) while (queue.rowsOf('', task).task < 4) queue.add(row(18 + (count % 5), { task }))
      const rows = queue.next(0, limits).batch
      assert.ok(tokensOf(rows) > 75, `a batch of ${tokensOf(rows)} tokens`)
      for (const { task, tokens } of rows) served.set(task, (served.get(task) ?? 0) + tokens)
    }
    const tokens = [...served.values()]
    assert.ok(Math.max(...tokens) - Math.min(...tokens) <= 2 * limits.maxTokens)
  })

  test('gives tenants tokens by weight, however many tasks they have', () => {
    const queue = queueOf([])
    const served = { big: 0, small: 0 }
    const fill = (tenant: 'big' | 'small', weight: number, tasks: number) => {
      for (let i = 0; i < tasks; i++)
        while (queue.rowsOf(tenant, `t${i}`).task < 3) queue.add(row(20, { tenant, weight, task: `t${i}` }))
    }
    for (let batch = 0; batch < 400; batch++) {
      fill('big', 3, 2)
      fill('small', 1, 50)
      for (const { tenant, tokens } of queue.next(0, limits).batch) served[tenant as 'big' | 'small'] += tokens
    }
    assert.ok(Math.abs(served.big / served.small - 3) < 0.05, `${served.big} : ${served.small}`)
  })

  test('charges rows by cost: a task that costs four times as much gets a quarter of the tokens', () => {
    const queue = queueOf([])
    const served = { costly: 0, plain: 0 }
    for (let batch = 0; batch < 1_000; batch++) {
      for (const [task, cost] of [
        ['costly', 80],
        ['plain', 20],
      ] as const)
        while (queue.rowsOf('', task).task < 30) queue.add(row(20, { task, cost }))
      const rows = queue.next(0, limits).batch
      assert.ok(tokensOf(rows) <= limits.maxTokens, 'budgets are in tokens')
      for (const { task, tokens } of rows) served[task as 'costly' | 'plain'] += tokens
    }
    assert.ok(Math.abs(served.plain / served.costly - 4) < 0.05, `${served.plain} : ${served.costly}`)
  })

  test('lets a flow that is ahead share a batch, unless it has most of the waiting tokens', () => {
    for (const [waiting, shared] of [
      [1, 1],
      [50, 0],
    ] as const) {
      const queue = aheadByABatch()
      for (let more = 0; more < waiting; more++) queue.add(row(20))
      for (let fresh = 0; fresh < 4; fresh++) queue.add(row(20, { task: `fresh ${count}` }))
      const { batch } = queue.next(0, limits)
      assert.equal(batch.filter(({ task }) => task === 'a').length, shared)
      assert.equal(batch.filter(({ task }) => task !== 'a').length, 4)
    }
  })

  test('does not make a flow that was ahead wait for all new flows', () => {
    const queue = aheadByABatch()
    const waits = row(20)
    queue.add(waits)
    let batches = 0
    for (let taken = false; !taken; batches++) {
      assert.ok(batches < 100, 'it starves')
      for (let fresh = 0; fresh < 5; fresh++) queue.add(row(20, { task: `fresh ${count}` }))
      taken = queue.next(0, limits).batch.includes(waits)
    }
    assert.ok(batches > 1, 'it was ahead')
  })

  test('gives no credit for idle time', () => {
    const queue = queueOf([row(20, { task: 'idle' })])
    queue.next(0, limits)
    for (let batch = 0; batch < 50; batch++) {
      for (let i = 0; i < 8; i++) queue.add(row(20, { task: 'busy' }))
      queue.next(0, limits)
    }
    for (let i = 0; i < 100; i++) queue.add(row(20, { task: 'idle' }))
    const served = { idle: 0, busy: 0 }
    for (let batch = 0; batch < 20; batch++)
      for (const { task, tokens } of queue.next(0, limits).batch) served[task as 'idle' | 'busy'] += tokens
    assert.ok(Math.abs(served.idle - served.busy) <= 2 * limits.maxTokens, `${served.idle} and ${served.busy}`)
  })

  test('starves neither long nor short rows, of one task or of two', () => {
    for (const task of ['mixed', undefined]) {
      const queue = queueOf([])
      const served = { long: 0, short: 0 }
      let waited = 0
      for (let batch = 0; batch < 300; batch++) {
        const add = (tokens: number) =>
          queue.add(row(tokens, { task: task ?? (tokens > 100 ? 'long' : 'short'), deadline: 1_000 + batch }))
        for (let i = 0; i < 10; i++) add(8)
        if (batch % 2 === 0) add(512)
        const oldest = queue.oldest
        const rows = queue.next(0, limits).batch
        for (const { tokens } of rows) served[tokens > 100 ? 'long' : 'short'] += tokens
        waited = oldest && !rows.includes(oldest) ? waited + 1 : 0
        assert.ok(waited < 80, `the oldest row waits for ${waited} batches`)
      }
      assert.ok(served.long > 0.3 * served.short && served.short > 0)
    }
  })

  test('lets an urgent row overtake rows of its own task only', () => {
    const calm = Array.from({ length: 40 }, (_, i) => row(50, { task: i % 2 === 0 ? 'a' : 'b', deadline: 1_000 }))
    const queue = queueOf(calm)
    queue.next(0, limits)
    const urgent = [row(50, { task: 'a', deadline: 50 }), row(50, { task: 'a', deadline: 50 })]
    for (const each of urgent) queue.add(each)
    const batches = [0, 1, 2, 3].map(() => queue.next(0, limits).batch)
    assert.ok(urgent.every((each) => batches.slice(0, 2).flat().includes(each)))
    assert.ok(batches.flat().filter(({ task }) => task === 'b').length >= 3)
  })

  test('keeps flows that flood within some batches of each other, for any rows (the bound of VTC)', () => {
    // Tenants differ by two batches. Of a task, six batches go by age in addition, and 30 rows are more than that.
    for (const { each, shortest, batches } of [
      { each: 'tenant', shortest: 1, batches: 2 },
      { each: 'task', shortest: 30, batches: 8 },
    ] as const) {
      const lengths = fc.array(fc.integer({ min: shortest, max: 100 }), { minLength: 1, maxLength: 8 })
      fc.assert(
        fc.property(fc.array(lengths, { minLength: 2, maxLength: 5 }), (flows) => {
          const queue = queueOf([])
          const served = flows.map(() => 0)
          const next = flows.map((tokens, flow) => {
            let added = 0
            return () => queue.add(row(tokens[added++ % tokens.length] ?? 1, { [each]: `${flow}` }))
          })
          for (let rows = 0; rows < 30; rows++) for (const add of next) add()
          for (let batch = 0; batch < 200; batch++) {
            for (const { [each]: id, tokens } of queue.next(0, limits).batch) {
              const flow = Number(id)
              served[flow] = (served[flow] ?? 0) + tokens
              next[flow]?.()
            }
            const apart = Math.max(...served) - Math.min(...served)
            assert.ok(apart <= batches * limits.maxTokens, `${served.join(', ')} tokens`)
          }
        }),
        { numRuns: 40 },
      )
    }
  })
})

describe('the estimate of tokens until a request is served', () => {
  const newRows = (task: string, tokens: number) => new Map([[task, { tokens, cost: tokens }]])
  const one = { tenant: '', weight: 1 }

  test('is everything that waits for the only task', () => {
    const queue = queueOf(Array.from({ length: 10 }, () => row(20)))
    assert.equal(queue.tokensUntilServed(one, newRows('a', 30), 100), 230)
  })

  test('is small for a quiet task while another task floods', () => {
    const queue = queueOf(Array.from({ length: 100 }, () => row(20)))
    assert.equal(queue.tokensUntilServed(one, newRows('quiet', 30), 100), 60)
  })

  test('depends on the weights of tenants', () => {
    const queue = queueOf(Array.from({ length: 100 }, () => row(20, { tenant: 'x', weight: 3 })))
    assert.equal(queue.tokensUntilServed({ tenant: 'y', weight: 1 }, newRows('a', 30), 100), 30 + 3 * 30)
  })

  test('is in tokens although turns are in cost', () => {
    const costly = queueOf(Array.from({ length: 100 }, () => row(20, { cost: 80 })))
    assert.equal(costly.tokensUntilServed(one, newRows('quiet', 40), 100), 40 + 10)
    const plain = queueOf(Array.from({ length: 100 }, () => row(20)))
    assert.equal(plain.tokensUntilServed(one, new Map([['quiet', { tokens: 40, cost: 160 }]]), 100), 40 + 160)
  })

  test('leaves out rows of the task with later deadlines', () => {
    const queue = queueOf([row(20, { deadline: 50 }), row(20, { deadline: 200 })])
    assert.equal(queue.tokensUntilServed(one, newRows('a', 30), 100), 50)
  })

  test('is close to what is really served, for any waiting rows', () => {
    const spec = fc.record({
      tenant: fc.constantFrom('x', 'y'),
      task: fc.constantFrom('a', 'b', 'c'),
      tokens: fc.integer({ min: 15, max: 20 }),
    })
    fc.assert(
      fc.property(fc.array(spec, { maxLength: 200 }), fc.nat(20), spec, (specs, batches, last) => {
        const weight = { x: 1, y: 3 }
        const rowFor = (each: typeof last) => row(each.tokens, { ...each, weight: weight[each.tenant] })
        const queue = queueOf(specs.map(rowFor))
        for (let batch = 0; batch < batches; batch++) queue.next(0, limits)
        const estimate = queue.tokensUntilServed(
          { tenant: last.tenant, weight: weight[last.tenant] },
          newRows(last.task, last.tokens),
          100,
        )
        const target = rowFor(last)
        queue.add(target)
        let served = 0
        for (let done = false; !done; ) {
          const { batch } = queue.next(0, limits)
          served += tokensOf(batch)
          done = batch.includes(target)
        }
        assert.ok(Math.abs(served - estimate) <= 3 * limits.maxTokens, `${served} served, ${estimate} estimated`)
      }),
    )
  })
})
