import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { CostModel, efficientTokens } from '../../src/scheduler/cost.js'

const line = (fixedMs: number, tokenMs: number) => (tokens: number) => ({ tokens, ms: fixedMs + tokenMs * tokens })

describe('the cost of a batch', () => {
  test('follows a straight line through the measurements', () => {
    const model = new CostModel([32, 64, 128].map(line(8, 0.25)))
    assert.ok(Math.abs(model.batchMs(1_000) - 258) < 1e-9)
  })

  test('says how many tokens take as long as the start of a batch', () => {
    assert.equal(new CostModel([32, 64, 128].map(line(8, 0.25))).tokensPerStart, 32)
    assert.equal(new CostModel([32, 64, 128].map(line(0, 0.25))).tokensPerStart, 0)
  })

  test('is never negative and grows with the tokens, for any measurements', () => {
    const timing = fc.record({
      tokens: fc.integer({ min: 1, max: 4096 }),
      ms: fc.double({ min: 0.01, max: 1_000, noNaN: true }),
    })
    fc.assert(
      fc.property(fc.array(timing, { minLength: 1, maxLength: 8 }), (timings) => {
        const model = new CostModel(timings)
        assert.ok(model.fixedMs >= -1e-9 && model.tokenMs > 0)
      }),
    )
  })

  test('follows the pace of the machine, but not a single delayed batch', () => {
    const model = new CostModel([32, 64].map(line(8, 0.25)))
    model.observe({ tokens: 64, ms: 24_000 })
    assert.ok(model.batchMs(64) < 2 * 24)
    for (let batch = 0; batch < 100; batch++) model.observe({ tokens: 64, ms: 48 })
    assert.ok(Math.abs(model.batchMs(64) - 48) < 1)
    for (let batch = 0; batch < 100; batch++) model.observe({ tokens: 64, ms: 12 })
    assert.ok(Math.abs(model.batchMs(64) - 12) < 1)
  })
})

describe('the size of a batch', () => {
  test('is the smallest size that has about the best throughput', () => {
    // 90 % of 1024 / 264 tokens a millisecond lies 0.818 of the way from 128 / 40 to 256 / 72.
    assert.equal(efficientTokens([32, 64, 128, 256, 512, 1024].map(line(8, 0.25))), 226)
    assert.equal(efficientTokens([32, 64, 128].map(line(0, 0.25))), 32)
    assert.equal(efficientTokens([{ tokens: 32, ms: 80 }]), 32)
  })

  test('changes little with noise in the measurements', () => {
    const noise = fc.array(fc.double({ min: 0.98, max: 1.02, noNaN: true }), { minLength: 6, maxLength: 6 })
    const exact = [32, 64, 128, 256, 512, 1024].map(line(8, 0.25))
    fc.assert(
      fc.property(noise, (factors) => {
        const found = efficientTokens(exact.map(({ tokens, ms }, i) => ({ tokens, ms: ms * (factors[i] ?? 1) })))
        assert.ok(found > efficientTokens(exact) / 1.7 && found < efficientTokens(exact) * 1.7, `${found}`)
      }),
    )
  })
})
