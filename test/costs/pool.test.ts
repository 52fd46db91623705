import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { type Holding, Pool } from '../../src/costs/pool.js'
import { Problem } from '../../src/problem.js'

const rejection = (action: () => unknown): Problem => {
  try {
    action()
  } catch (error) {
    if (error instanceof Problem) return error
    throw error
  }
  throw new Error('nothing was rejected')
}

describe('a pool of memory', () => {
  test('gives one owner half of the pool, and the next owner half of the rest', () => {
    const pool = new Pool('bodies', 1_000)
    pool.take('a', 500)
    assert.equal(pool.roomFor('a'), 0)
    assert.equal(pool.roomFor('b'), 500)
    pool.take('b', 250)
    assert.equal(pool.roomFor('b'), 0)
    assert.equal(pool.roomFor('c'), 250)
  })

  test('rejects a request without room, with figures, and holds none of its bytes', () => {
    const pool = new Pool('bodies', 1_000)
    const held = pool.take('a', 400)
    const problem = rejection(() => pool.take('a', 201))
    assert.deepEqual(
      [problem.code, problem.details],
      ['overloaded', { resource: 'bodies', asked: 201, room: 200, limit: 1_000, retry_after_s: 1 }],
    )
    assert.equal(pool.held, 400)
    held.release()
    assert.equal(pool.held, 0)
  })

  test('does not count the bytes that a request holds itself when it takes more', () => {
    const pool = new Pool('bodies', 1_000)
    const held = pool.take('a', 0)
    for (let at = 0; at < 10; at++) held.add(100)
    assert.equal(held.bytes, 1_000)
    assert.equal(rejection(() => held.add(1)).code, 'overloaded')
  })

  test('gets bytes back only once, and gives no bytes to a released request', () => {
    const pool = new Pool('bodies', 1_000)
    const [first, second] = [pool.take('a', 100), pool.take('a', 100)]
    first.release()
    first.release()
    first.add(300)
    assert.deepEqual([pool.held, pool.heldBy('a')], [100, 100])
    second.release()
    assert.deepEqual([pool.held, pool.heldBy('a')], [0, 0])
  })

  test('never holds more than its limit, and counts exactly the bytes that are held', () => {
    const action = fc.record({
      owner: fc.constantFrom('a', 'b', 'c'),
      bytes: fc.integer({ min: 0, max: 600 }),
      release: fc.boolean(),
    })
    fc.assert(
      fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
        const pool = new Pool('bodies', 1_000)
        const held: { owner: string; holding: Holding }[] = []
        for (const { owner, bytes, release } of actions) {
          if (release) held.shift()?.holding.release()
          else
            try {
              held.push({ owner, holding: pool.take(owner, bytes) })
            } catch (error) {
              assert.ok(error instanceof Problem && bytes > pool.roomFor(owner))
            }
          const sum = (of: string) =>
            held.reduce((all, { owner, holding }) => all + (owner === of ? holding.bytes : 0), 0)
          assert.equal(pool.held, sum('a') + sum('b') + sum('c'))
          assert.equal(pool.heldBy('b'), sum('b'))
          assert.ok(pool.held <= pool.limit)
        }
      }),
    )
  })
})
