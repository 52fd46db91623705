// Requests of several owners at the event loop.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises'
import { LoopTurns } from '../../src/costs/loop-turns.js'

/** Asks for turns, and notes in which order they come. */
function ask(turns: LoopTurns, begun: string[], owner: string, requests: number): Promise<unknown> {
  return Promise.all(
    Array.from({ length: requests }, async () => {
      await turns.next(owner)
      begun.push(owner)
    }),
  )
}

describe('turns of the event loop', () => {
  test('an owner that is alone does not wait', async () => {
    const turns = new LoopTurns()
    const begun: string[] = []
    void ask(turns, begun, 'alone', 100)
    await Promise.resolve()
    await Promise.resolve()
    assert.equal(turns.waiting, 0)
    assert.equal(begun.length, 100)
  })

  test('one request is begun in a turn, and owners alternate', async () => {
    const turns = new LoopTurns()
    const begun: string[] = []
    await ask(turns, begun, 'quiet', 1)
    const many = ask(turns, begun, 'flooding', 50)
    const few = ask(turns, begun, 'quiet', 3)
    for (let turn = 1; turn <= 10; turn++) {
      await nextTurn()
      assert.ok(begun.length <= 1 + turn, `${begun.length} requests after ${turn} turns`)
    }
    await Promise.all([many, few])
    assert.deepEqual(begun.slice(0, 7), ['quiet', 'flooding', 'quiet', 'flooding', 'quiet', 'flooding', 'quiet'])
    assert.equal(turns.waiting, 0)
  })

  test('an owner that was refused rests, and others do not wait for it', async () => {
    let now = 0
    const turns = new LoopTurns(() => now)
    const begun: string[] = []
    await Promise.all([ask(turns, begun, 'refused', 1), ask(turns, begun, 'quiet', 1)])
    turns.rejected('refused')
    begun.length = 0
    const rested = ask(turns, begun, 'refused', 2)
    await ask(turns, begun, 'quiet', 20)
    await pause(30)
    assert.deepEqual(new Set(begun), new Set(['quiet']))
    now = 10
    await rested
    assert.equal(begun.length, 22)
  })

  test('an owner that rests goes on once its time has come, though nothing else happens', async () => {
    const turns = new LoopTurns()
    const begun: string[] = []
    await Promise.all([ask(turns, begun, 'refused', 1), ask(turns, begun, 'other', 1)])
    turns.rejected('refused')
    await ask(turns, begun, 'refused', 3)
    assert.equal(begun.length, 5)
  })
})
