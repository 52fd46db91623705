import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { roomFor } from '../../src/scheduler/admission.js'

describe('room in the queue', () => {
  test('is the whole queue for the first tenant, and a third of it for a tenant that floods', () => {
    assert.equal(roomFor({ limit: 300, all: 0, tenant: 0, task: 0 }), 300)
    assert.equal(roomFor({ limit: 300, all: 99, tenant: 99, task: 99 }), 3)
    assert.equal(roomFor({ limit: 300, all: 100, tenant: 100, task: 100 }), 0)
  })

  test('remains for other tasks and tenants, however many tenants flood', () => {
    const limit = 10_000
    for (let floods = 1; floods < 20; floods++) {
      // The floods take as much room as they get, in turn, until none gets more.
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
