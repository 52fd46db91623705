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

  test('a batch is as short for a tenant of many tasks as for one of a single task', async () => {
    const simulation = simulate({ maxTokens: 512, taskTokens: 64 })
    const { clock, ask, batches } = simulation
    const many = (tenant: string) => {
      for (let task = 0; task < 200; task++) void ask({ tenant, task: `${tenant}${task}`, tokens: [16] })
    }
    many('alone')
    await clock.run()
    assert.equal(Math.max(...batches.map(({ rows }) => tokensOf(rows))), 512)
    batches.length = 0
    await clock.run(clock.now() + 10_000)
    many('one')
    void ask({ tenant: 'other', tokens: [16] })
    await clock.run()
    // The first batches have rows of both tenants.
    assert.ok(batches.every(({ rows }) => tokensOf(rows) <= 128))
    assert.ok(batches.slice(2).every(({ rows }) => tokensOf(rows) <= 64))
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
