import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { RowQueue, type Waiting } from '../../src/scheduler/queue.js'

type Row = Waiting & { readonly name: number }

let count = 0
const row = (tokens: number, options: Partial<Row> = {}): Row => ({
  name: count++,
  task: 'a',
  maskKey: options.task ?? 'a',
  tokens,
  deadline: 100,
  cancelled: false,
  ...options,
})
const limits = { maxTokens: 100, maxMasks: 10 }
const queueOf = (rows: readonly Row[]) => {
  const queue = new RowQueue<Row>()
  for (const each of rows) queue.add(each)
  return queue
}

describe('the queue', () => {
  test('puts rows of similar length together', () => {
    const queue = queueOf([row(10), row(60), row(11), row(62), row(12)])
    const tokens = () => queue.next(0, limits).batch.map((each) => each.tokens)
    assert.deepEqual(tokens().toSorted(), [10, 11, 12])
    assert.deepEqual(tokens(), [60])
    assert.deepEqual(tokens(), [62])
    assert.deepEqual(tokens(), [])
  })

  test('runs a row that is longer than the budget, alone', () => {
    const queue = queueOf([row(500), row(490), row(5)])
    assert.deepEqual(
      queue.next(0, limits).batch.map((each) => each.tokens),
      [500],
    )
  })

  test('drops rows past their deadline and rows whose client left, before they cost anything', () => {
    const [late, left, good] = [row(10, { deadline: 5 }), row(10, { cancelled: true }), row(10)]
    const { batch, dropped } = queueOf([late, left, good]).next(5, limits)
    assert.deepEqual(batch, [good])
    assert.deepEqual(dropped, [late, left])
  })

  test('gives a quiet task its turn beside one that floods the queue', () => {
    const flood = Array.from({ length: 500 }, () => row(20, { task: 'flood' }))
    const queue = queueOf(flood)
    for (let batch = 0; batch < 10; batch++) queue.next(0, limits)
    const quiet = row(90, { task: 'quiet' })
    queue.add(quiet)
    const batches = Array.from({ length: 3 }, () => queue.next(0, limits).batch)
    assert.ok(batches.some((batch) => batch.includes(quiet)))
  })

  test('lets no row wait for ever while others of a better length keep coming', () => {
    const queue = queueOf([])
    const odd = row(90, { task: 'odd' })
    queue.add(odd)
    let batches = 0
    for (; batches < 50; batches++) {
      for (let i = 0; i < 10; i++) queue.add(row(10, { task: `t${i}` }))
      if (queue.next(0, limits).batch.includes(odd)) break
    }
    assert.ok(batches < 11, `waited ${batches} batches`)
  })

  test('keeps to its limits and loses or doubles no row, whatever comes', () => {
    const anyRow = fc.record({
      tokens: fc.integer({ min: 1, max: 150 }),
      task: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
    })
    fc.assert(
      fc.property(fc.array(anyRow, { maxLength: 80 }), fc.integer({ min: 1, max: 4 }), (specs, maxMasks) => {
        const rows = specs.map(({ tokens, task }) => row(tokens, { task, maskKey: task }))
        const queue = queueOf(rows)
        const seen: Row[] = []
        while (queue.size > 0) {
          const { batch } = queue.next(0, { maxTokens: 100, maxMasks })
          const tokens = batch.map((each) => each.tokens)
          const total = tokens.reduce((a, b) => a + b, 0)
          assert.ok(batch.length > 0)
          assert.ok(total <= 100 || batch.length === 1)
          assert.ok(batch.length * Math.max(...tokens) <= 2 * total, 'more than half of the places are padding')
          assert.ok(new Set(batch.map((each) => each.maskKey)).size <= maxMasks)
          seen.push(...batch)
        }
        assert.deepEqual(seen.map(({ name }) => name).toSorted(), rows.map(({ name }) => name).toSorted())
      }),
    )
  })
})
