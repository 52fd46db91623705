// Rules that hold while several tenants are active: they wait for each other's batches, which are kept short.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { EngineRow } from '../../src/engine/engine.js'
import { batchMs, flood, simulate } from './simulation.js'

const tokensOf = (rows: readonly EngineRow[]) => rows.reduce((sum, { inputIds }) => sum + inputIds.length, 0)

describe('while several tenants are active', () => {
  test('a short row never waits for long ones on all engines', async () => {
    const simulation = simulate({ engines: 2, maxTokens: 512, taskTokens: 64 })
    const { clock, outcomes } = simulation
    flood(simulation, 16, { tenant: 'flooding', tokens: [512] }, 20_000)
    flood(simulation, 1, { tenant: 'quiet', tokens: [8] }, 20_000)
    await clock.run(1_000)
    outcomes.length = 0
    await clock.run()
    const quiet = outcomes.filter(({ ask }) => ask.tenant === 'quiet')
    assert.ok(quiet.length > 1_000 && quiet.every(({ end }) => end === 'answered'))
    // A row of 512 tokens takes 133 ms, and the short row 7 ms.
    const longest = Math.max(...quiet.map(({ cameAt, endedAt }) => endedAt - cameAt))
    assert.ok(longest <= 2 * batchMs(8), `${longest} ms`)
    // The other engine serves the flood all the time.
    const flooded = outcomes.filter(({ ask }) => ask.tenant === 'flooding')
    assert.ok(flooded.length >= 0.95 * (19_000 / batchMs(512)), `${flooded.length}`)
  })

  test('batches are short while a tenant floods, whether it asks one task or many', async () => {
    for (const tasks of [1, 200]) {
      // A batch of 20 tokens takes 10 ms.
      const simulation = simulate({ maxTokens: 320, taskTokens: 40 })
      const { clock, ask, batches } = simulation
      const many = (tenant: string) => {
        for (let index = 0; index < 200; index++) void ask({ tenant, task: `${index % tasks}`, tokens: [5] })
      }
      // What is left at the end is no flood.
      const longest = () => Math.max(...batches.slice(0, 20).map(({ rows }) => tokensOf(rows)))
      many('flooding')
      await clock.run()
      assert.equal(longest(), Math.min(320, 40 * tasks), 'alone')
      batches.length = 0
      void ask({ tenant: 'quiet', tokens: [5] })
      many('flooding')
      await clock.run()
      assert.equal(longest(), 20, 'beside another tenant')
    }
  })

  test('batches are not shorter than a quarter of an efficient one', async () => {
    const simulation = simulate({ maxTokens: 512, taskTokens: 200 })
    const { clock, ask, batches } = simulation
    void ask({ tenant: 'quiet', tokens: [5] })
    for (let index = 0; index < 200; index++) void ask({ tenant: 'flooding', tokens: [5] })
    await clock.run()
    assert.equal(Math.max(...batches.slice(0, 10).map(({ rows }) => tokensOf(rows))), 50)
  })

  test('rows of many tenants, none of which floods, share long batches', async () => {
    const simulation = simulate({ maxTokens: 512, taskTokens: 64 })
    const { clock, ask, batches } = simulation
    for (let index = 0; index < 200; index++) void ask({ tenant: `${index}`, task: `${index}`, tokens: [16] })
    await clock.run()
    assert.equal(Math.max(...batches.map(({ rows }) => tokensOf(rows))), 512)
  })

  test('and no longer: a tenant alone has all engines for its long rows', async () => {
    const simulation = simulate({ engines: 2, maxTokens: 512, taskTokens: 64 })
    const { clock, ask, batches } = simulation
    void ask({ tenant: 'gone', tokens: [8] })
    await clock.run(6_000)
    batches.length = 0
    for (let index = 0; index < 8; index++) void ask({ tenant: 'alone', tokens: [512] })
    await clock.run()
    assert.deepEqual(batches.map(({ engine }) => engine).sort(), [0, 0, 0, 0, 1, 1, 1, 1])
  })
})
