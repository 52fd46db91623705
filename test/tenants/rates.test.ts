// Rate limits of tenants: bursts, debts and changed limits.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Rates } from '../../src/tenants/rates.js'
import { defaults, type Limits, type Tenant } from '../../src/tenants/tenant.js'

const tenant = (limits: Partial<Limits>, id = 'acme'): Tenant => ({
  id,
  incarnation: 'first',
  created: '',
  share: 1,
  limits: { ...defaults.limits, ...limits },
})

/** Rates with a clock that the test controls. */
function ratesWithClock() {
  let now = 12_345
  const rates = new Rates(() => now)
  const wait = (ms: number) => {
    now += ms
  }
  const taken = (of: Tenant, rate: 'requests' | 'tokens', cost: number) => {
    try {
      rates.take(of, rate, cost)
      return true
    } catch (error) {
      assert.equal((error as { code: string }).code, 'rate_limited')
      return (error as { details: { retry_after_s: number } }).details.retry_after_s
    }
  }
  return { rates, wait, taken }
}

describe('rates', () => {
  test('accept a burst of one second, and then requests at the rate', () => {
    const { wait, taken } = ratesWithClock()
    const acme = tenant({ requestsPerSecond: 4 })
    assert.deepEqual(
      Array.from({ length: 5 }, () => taken(acme, 'requests', 1)),
      [true, true, true, true, 1],
    )
    wait(249)
    assert.equal(taken(acme, 'requests', 1), 1)
    wait(1)
    assert.deepEqual([taken(acme, 'requests', 1), taken(acme, 'requests', 1)], [true, 1])
    wait(60_000)
    assert.equal(Array.from({ length: 10 }, () => taken(acme, 'requests', 1)).filter((it) => it === true).length, 4)
  })

  test('let a large request run into debt, and count it to the millisecond', () => {
    const { rates, wait, taken } = ratesWithClock()
    const acme = tenant({ tokensPerSecond: 100 })
    assert.equal(taken(acme, 'tokens', 1_000), true)
    assert.deepEqual(rates.statuses(acme), [{ rate: 'tokens', quota: 100, remaining: 0, fullAfter: 10 }])
    // 900 in debt and 1 to take, at 100 per second.
    assert.equal(taken(acme, 'tokens', 1), 10)
    wait(9_009)
    assert.equal(taken(acme, 'tokens', 1), 1)
    wait(1)
    assert.equal(taken(acme, 'tokens', 1), true)
  })

  test('can be checked without taking anything', () => {
    const { rates, taken } = ratesWithClock()
    const acme = tenant({ tokensPerSecond: 10 })
    assert.equal(taken(acme, 'tokens', 0), true)
    assert.equal(rates.statuses(acme)[0]?.remaining, 10)
    assert.equal(taken(acme, 'tokens', 10), true)
    assert.equal(taken(acme, 'tokens', 0), 1)
  })

  test('get back what was not used, up to their capacity', () => {
    const { rates, taken } = ratesWithClock()
    const acme = tenant({ tokensPerSecond: 10 })
    assert.equal(taken(acme, 'tokens', 30), true)
    rates.giveBack(acme, 'tokens', 25)
    assert.equal(rates.statuses(acme)[0]?.remaining, 5)
    rates.giveBack(acme, 'tokens', 1_000)
    assert.equal(rates.statuses(acme)[0]?.remaining, 10)
    rates.giveBack(tenant({}), 'tokens', 1)
  })

  test('start full for a new tenant with the id of a removed one', () => {
    const { taken } = ratesWithClock()
    const acme = tenant({ tokensPerSecond: 1 })
    assert.equal(taken(acme, 'tokens', 100), true)
    assert.equal(taken(acme, 'tokens', 1), 100)
    assert.equal(taken({ ...acme, incarnation: 'another' }, 'tokens', 1), true)
  })

  test('are separate for each tenant, and for requests and tokens', () => {
    const { taken } = ratesWithClock()
    const limits = { requestsPerSecond: 1, tokensPerSecond: 1 }
    const [acme, beta] = [tenant(limits), tenant(limits, 'beta')]
    assert.equal(taken(acme, 'requests', 1), true)
    assert.deepEqual(
      [taken(acme, 'requests', 1), taken(acme, 'tokens', 1), taken(beta, 'requests', 1)],
      [1, true, true],
    )
    assert.equal(taken(tenant({}), 'requests', 1), true)
  })

  test('follow a changed limit', () => {
    const { wait, taken } = ratesWithClock()
    assert.equal(taken(tenant({ requestsPerSecond: 100 }), 'requests', 1), true)
    const slow = tenant({ requestsPerSecond: 2 })
    assert.deepEqual(
      Array.from({ length: 3 }, () => taken(slow, 'requests', 1)),
      [true, true, 1],
    )
    wait(100)
    assert.equal(taken(slow, 'requests', 1), 1)
    wait(10)
    assert.equal(taken(tenant({ requestsPerSecond: 100 }), 'requests', 1), true)
  })
})
