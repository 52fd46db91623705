import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DutyCycle } from '../../src/costs/duty-cycle.js'

test('work of a duty cycle runs one piece at a time, and rests after each so that it takes its share of the time', async () => {
  let now = 1_000
  const cycle = new DutyCycle(0.1, () => now)
  const during = await cycle.run(async () => {
    now += 20
    return cycle.free
  })
  assert.equal(during, false)
  now += 179
  assert.equal(cycle.free, false)
  now += 1
  assert.equal(cycle.free, true)
  await assert.rejects(
    cycle.run(async () => {
      now += 1
      throw new Error('failed')
    }),
    /failed/,
  )
  assert.equal(cycle.free, false)
  now += 9
  assert.equal(cycle.free, true)
})
