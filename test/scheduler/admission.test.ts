import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Calibration, roomFor } from '../../src/scheduler/admission.js'

describe('the calibration of waits', () => {
  test('learns how much longer those waited who were taken', () => {
    const calibration = new Calibration()
    assert.equal(calibration.ratio, 1)
    for (let i = 0; i < 200; i++) calibration.learn(1_000, 1_500)
    assert.ok(Math.abs(calibration.ratio - 1.5) < 0.01)
    for (let i = 0; i < 200; i++) calibration.learn(1_000, 1_000)
    assert.ok(Math.abs(calibration.ratio - 1) < 0.02)
  })

  test('believes only so much', () => {
    const calibration = new Calibration()
    for (let i = 0; i < 50; i++) calibration.learn(100, 60_000)
    assert.equal(calibration.ratio, 4)
  })
})

describe('room in the queue', () => {
  test('is all of it for the first, and a third for one that floods', () => {
    assert.equal(roomFor({ limit: 300, all: 0, tenant: 0, task: 0 }), 300)
    assert.equal(roomFor({ limit: 300, all: 99, tenant: 99, task: 99 }), 3)
    assert.equal(roomFor({ limit: 300, all: 100, tenant: 100, task: 100 }), 0)
  })

  test('is left to other tasks and tenants, however many flood', () => {
    const limit = 10_000
    for (let floods = 1; floods < 20; floods++) {
      // Each in turn takes what is left to it, until none gets more.
      const rows = new Array<number>(floods).fill(0)
      for (let round = 0; round < 200; round++)
        for (let flood = 0; flood < floods; flood++) {
          const own = rows[flood] ?? 0
          const all = rows.reduce((a, b) => a + b, 0)
          rows[flood] = own + Math.min(50, roomFor({ limit, all, tenant: own, task: own }))
        }
      const all = rows.reduce((a, b) => a + b, 0)
      assert.ok(roomFor({ limit, all, tenant: 0, task: 0 }) > limit / (floods + 2) - 50, `${floods} floods`)
    }
  })
})
