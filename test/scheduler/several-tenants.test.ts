// The rules for several active tenants. They wait for each other's batches, so batches stay short.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { EngineRow } from '../../src/engine/engine.js'
import { batchMs, flood, simulate } from './simulation.js'

const tokensOf = (rows: readonly EngineRow[]) => rows.reduce((sum, { inputIds }) => sum + inputIds.length, 0)

describe('while several tenants are active', () => {
  test('a short row never waits for long rows on all engines', async () => {
    const simulation = simulate({ engines: 2, maxTokens: 512, taskTokens: 64 })
    const { clock, outcomes } = simulation
    flood(simulation, 16, { tenant: 'flooding', tokens: [512] }, 20_000)
    flood(simulation, 1, { tenant: 'quiet', tokens: [8] }, 20_000)
    await clock.run(1_000)
    outcomes.length = 0
    await clock.run()
    const quiet = outcomes.filter(({ request }) => request.tenant === 'quiet')
    assert.ok(quiet.length > 1_000 && quiet.every(({ end }) => end === 'completed'))
    // A row of 512 tokens takes 133 ms, and the short row 7 ms.
    const longest = Math.max(...quiet.map(({ arrivedAt, endedAt }) => endedAt - arrivedAt))
    assert.ok(longest <= 2 * batchMs(8), `${longest} ms`)
    // The other engine serves the flood all the time.
    const flooded = outcomes.filter(({ request }) => request.tenant === 'flooding')
    assert.ok(flooded.length >= 0.95 * (19_000 / batchMs(512)), `${flooded.length}`)
  })

  test('batches are short while a tenant floods, with one task or with many', async () => {
    for (const tasks of [1, 200]) {
      // A batch of 20 tokens takes 10 ms.
      const simulation = simulate({ maxTokens: 320, taskTokens: 40 })
      const { clock, send, batches } = simulation
      const many = (tenant: string) => {
        for (let index = 0; index < 200; index++) void send({ tenant, task: `${index % tasks}`, tokens: [5] })
      }
      // The last batches do not count: the few rows that remain are no flood.
      const longest = () => Math.max(...batches.slice(0, 20).map(({ rows }) => tokensOf(rows)))
      many('flooding')
      await clock.run()
      assert.equal(longest(), Math.min(320, 40 * tasks), 'alone')
      batches.length = 0
      void send({ tenant: 'quiet', tokens: [5] })
      many('flooding')
      await clock.run()
      assert.equal(longest(), 20, 'with another active tenant')
    }
  })

  test('batches are at least a quarter of an efficient batch', async () => {
    const simulation = simulate({ maxTokens: 512, taskTokens: 200 })
    const { clock, send, batches } = simulation
    void send({ tenant: 'quiet', tokens: [5] })
    for (let index = 0; index < 200; index++) void send({ tenant: 'flooding', tokens: [5] })
    await clock.run()
    assert.equal(Math.max(...batches.slice(0, 10).map(({ rows }) => tokensOf(rows))), 50)
  })

  test('rows of many tenants share long batches if no tenant floods', async () => {
    const simulation = simulate({ maxTokens: 512, taskTokens: 64 })
    const { clock, send, batches } = simulation
    for (let index = 0; index < 200; index++) void send({ tenant: `${index}`, task: `${index}`, tokens: [16] })
    await clock.run()
    assert.equal(Math.max(...batches.map(({ rows }) => tokensOf(rows))), 512)
  })

  test('a tenant gets all engines for its long rows once no other tenant is active', async () => {
    const simulation = simulate({ engines: 2, maxTokens: 512, taskTokens: 64 })
    const { clock, send, batches } = simulation
    void send({ tenant: 'gone', tokens: [8] })
    await clock.run(6_000)
    batches.length = 0
    for (let index = 0; index < 8; index++) void send({ tenant: 'alone', tokens: [512] })
    await clock.run()
    assert.deepEqual(batches.map(({ engine }) => engine).sort(), [0, 0, 0, 0, 1, 1, 1, 1])
  })
})
