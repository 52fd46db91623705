import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { SlicedWork } from '../../src/costs/sliced-work.js'
import type { Steps } from '../../src/steps.js'

/** Work on a virtual clock, on which each step takes half a millisecond. */
function virtualWork() {
  let now = 0
  const done: string[] = []
  function* steps(name: string, count: number): Steps<string> {
    for (let step = 0; step < count; step++) {
      now += 0.5
      done.push(name)
      yield
    }
    return name
  }
  const work = new SlicedWork(() => now)
  return { work, steps, done }
}

describe('work of the event loop', () => {
  test('returns the result of its steps, and throws their errors', async () => {
    const { work, steps } = virtualWork()
    assert.equal(await work.run('a', steps('x', 20)), 'x')
    const broken = function* (): Steps<never> {
      yield
      throw new Error('broken')
    }
    await assert.rejects(work.run('a', broken()), /broken/)
    assert.equal(work.waiting, 0)
  })

  test('lets the event loop handle other events between two slices', async () => {
    const { work, steps, done } = virtualWork()
    const running = work.run('a', steps('x', 100))
    const seen: number[] = []
    const look = () => {
      seen.push(done.length)
      if (done.length < 100) setImmediate(look)
    }
    setImmediate(look)
    await running
    // Most looks see no new step, because the work pauses after a full slice.
    const slices = seen.map((count, at) => count - (seen[at - 1] ?? 0)).filter((steps) => steps > 0)
    assert.ok(slices.length >= 50, slices.join(' '))
    for (const steps of slices) assert.ok(steps <= 2, slices.join(' '))
  })

  test('lets owners take turns, and also the jobs of one owner', async () => {
    const { work, steps, done } = virtualWork()
    await Promise.all([work.run('a', steps('a1', 4)), work.run('a', steps('a2', 4)), work.run('b', steps('b', 8))])
    assert.equal(done.join(' '), 'a1 a1 b b a2 a2 b b a1 a1 b b a2 a2 b b')
  })

  test('stops when the client has disconnected', async () => {
    const { work, steps, done } = virtualWork()
    const client = new AbortController()
    const running = work.run('a', steps('x', 1_000), client.signal)
    setImmediate(() => setImmediate(() => client.abort()))
    await assert.rejects(running, { code: 'client_closed_request' })
    assert.ok(done.length < 10)
    assert.equal(work.waiting, 0)
  })
})
