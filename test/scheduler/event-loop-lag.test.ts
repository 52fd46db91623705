import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EventLoopLag } from '../../src/scheduler/event-loop-lag.js'

test('the lag allowance covers nearly every delay of a busy process, and shrinks once the delays end', () => {
  const lag = new EventLoopLag()
  assert.equal(lag.allowanceMs, 0)
  const delays = Array.from({ length: 1_000 }, (_, i) => [2, 5, 3, 40, 8, 4, 25, 3][i % 8] ?? 0)
  let covered = 0
  for (const delay of delays) {
    if (delay <= lag.allowanceMs) covered++
    lag.observe(delay)
  }
  assert.ok(covered > 0.98 * delays.length, `${covered} of ${delays.length}`)
  assert.ok(lag.allowanceMs < 100)
  for (let i = 0; i < 100; i++) lag.observe(0)
  assert.ok(lag.allowanceMs < 0.1)
})
