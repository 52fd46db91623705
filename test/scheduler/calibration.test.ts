import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Calibration } from '../../src/scheduler/calibration.js'

describe('the calibration of wait estimates', () => {
  test('learns how much longer admitted requests waited than estimated', () => {
    const calibration = new Calibration()
    assert.equal(calibration.ratio, 1)
    for (let i = 0; i < 200; i++) calibration.learn(1_000, 1_500)
    assert.ok(Math.abs(calibration.ratio - 1.5) < 0.01)
    for (let i = 0; i < 200; i++) calibration.learn(1_000, 1_000)
    assert.ok(Math.abs(calibration.ratio - 1) < 0.02)
  })

  test('has an upper bound', () => {
    const calibration = new Calibration()
    for (let i = 0; i < 50; i++) calibration.learn(100, 60_000)
    assert.equal(calibration.ratio, 4)
  })
})
