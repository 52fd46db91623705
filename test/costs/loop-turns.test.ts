// Requests of several owners on the event loop.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises'
import { LoopTurns } from '../../src/costs/loop-turns.js'

/** Requests turns, and records the order in which they start. */
function requestTurns(turns: LoopTurns, started: string[], owner: string, requests: number): Promise<unknown> {
  return Promise.all(
    Array.from({ length: requests }, async () => {
      await turns.next(owner)
      started.push(owner)
    }),
  )
}

describe('turns of the event loop', () => {
  test('a single active owner does not wait', async () => {
    const turns = new LoopTurns()
    const started: string[] = []
    void requestTurns(turns, started, 'alone', 100)
    await Promise.resolve()
    await Promise.resolve()
    assert.equal(turns.waiting, 0)
    assert.equal(started.length, 100)
  })

  test('one request starts per turn of the event loop, and owners alternate', async () => {
    const turns = new LoopTurns()
    const started: string[] = []
    await requestTurns(turns, started, 'quiet', 1)
    const many = requestTurns(turns, started, 'flooding', 50)
    const few = requestTurns(turns, started, 'quiet', 3)
    for (let turn = 1; turn <= 10; turn++) {
      await nextTurn()
      assert.ok(started.length <= 1 + turn, `${started.length} requests after ${turn} turns`)
    }
    await Promise.all([many, few])
    assert.deepEqual(started.slice(0, 7), ['quiet', 'flooding', 'quiet', 'flooding', 'quiet', 'flooding', 'quiet'])
    assert.equal(turns.waiting, 0)
  })

  test('an owner pauses after a rejected request, and others do not wait for it', async () => {
    let now = 0
    const turns = new LoopTurns(() => now)
    const started: string[] = []
    await Promise.all([requestTurns(turns, started, 'rejected', 1), requestTurns(turns, started, 'quiet', 1)])
    turns.rejected('rejected')
    started.length = 0
    const afterPause = requestTurns(turns, started, 'rejected', 2)
    await requestTurns(turns, started, 'quiet', 20)
    await pause(30)
    assert.deepEqual(new Set(started), new Set(['quiet']))
    now = 10
    await afterPause
    assert.equal(started.length, 22)
  })

  test('an owner continues after its pause without any other event', async () => {
    const turns = new LoopTurns()
    const started: string[] = []
    await Promise.all([requestTurns(turns, started, 'rejected', 1), requestTurns(turns, started, 'other', 1)])
    turns.rejected('rejected')
    await requestTurns(turns, started, 'rejected', 3)
    assert.equal(started.length, 5)
  })
})
