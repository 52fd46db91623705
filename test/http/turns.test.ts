// How much of one kind of work a turn of the event loop does.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { BodyTurns, piecesPerTurn } from '../../src/http/body-turns.js'
import { LaterTurns } from '../../src/http/later-turns.js'
import { Metrics } from '../../src/http/metrics.js'
import { Lifecycle } from '../../src/http/services.js'

describe('long bodies', () => {
  test('are read a few pieces per turn, and owners take turns', async () => {
    const turns = new BodyTurns()
    const resumed: string[] = []
    const read = (owner: string, body: string) =>
      turns.pieceRead(owner, {
        pause: () => paused.push(body),
        resume: () => resumed.push(body),
      })
    const paused: string[] = []
    for (let piece = 0; piece < piecesPerTurn; piece++) read('a', 'first')
    assert.deepEqual(paused, [])
    const bodies = Array.from({ length: 6 }, (_, at) => `a${at}`)
    for (const body of bodies) read('a', body)
    read('b', 'b0')
    assert.deepEqual(paused, [...bodies, 'b0'])
    await nextTurn()
    assert.deepEqual(resumed.splice(0), ['a0', 'b0', 'a1', 'a2'])
    await nextTurn()
    assert.deepEqual(resumed, ['a3', 'a4', 'a5'])
  })
})

describe('work for later turns', () => {
  test('starts in order, after the sockets were polled again, and only some in a turn', async () => {
    const later = new LaterTurns()
    const done: number[] = []
    for (let at = 0; at < 20; at++) later.add(() => done.push(at))
    const counts: number[] = []
    for (let turn = 0; turn < 5; turn++) {
      await nextTurn()
      counts.push(done.length)
    }
    assert.deepEqual(counts, [0, 8, 16, 20, 20])
    assert.deepEqual(
      done,
      Array.from({ length: 20 }, (_, at) => at),
    )
  })
})

describe('the text of the metrics', () => {
  test('is written once for requests that wait at the same time, and is no older than they are', async () => {
    const metrics = new Metrics(new Lifecycle(), 0)
    let written = 0
    const write = metrics.registry.metrics.bind(metrics.registry)
    metrics.registry.metrics = () => {
      written++
      return write()
    }
    await metrics.text()
    metrics.rejected('room')
    const texts = await Promise.all(Array.from({ length: 500 }, () => metrics.text()))
    assert.equal(written, 2)
    for (const text of texts) assert.match(text, /^propetl_refused_requests_total\{reason="room"\} 1$/m)
  })
})
