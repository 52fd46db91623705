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

/** Rates in a time that only the test lets pass. */
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
  test('let in one second’s worth at once, and then one as often as the rate says', () => {
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

  test('take from a debt what a large request cost, to the millisecond', () => {
    const { rates, wait, taken } = ratesWithClock()
    const acme = tenant({ tokensPerSecond: 100 })
    assert.equal(taken(acme, 'tokens', 1_000), true)
    assert.deepEqual(rates.statuses(acme), [{ rate: 'tokens', quota: 100, remaining: 0, fullAfter: 10 }])
    // 900 owed and 1 wanted, at 100 a second.
    assert.equal(taken(acme, 'tokens', 1), 10)
    wait(9_009)
    assert.equal(taken(acme, 'tokens', 1), 1)
    wait(1)
    assert.equal(taken(acme, 'tokens', 1), true)
  })

  test('are looked at without being taken', () => {
    const { rates, taken } = ratesWithClock()
    const acme = tenant({ tokensPerSecond: 10 })
    assert.equal(taken(acme, 'tokens', 0), true)
    assert.equal(rates.statuses(acme)[0]?.remaining, 10)
    assert.equal(taken(acme, 'tokens', 10), true)
    assert.equal(taken(acme, 'tokens', 0), 1)
  })

  test('get back what was not used, and never more than they hold', () => {
    const { rates, taken } = ratesWithClock()
    const acme = tenant({ tokensPerSecond: 10 })
    assert.equal(taken(acme, 'tokens', 30), true)
    rates.giveBack(acme, 'tokens', 25)
    assert.equal(rates.statuses(acme)[0]?.remaining, 5)
    rates.giveBack(acme, 'tokens', 1_000)
    assert.equal(rates.statuses(acme)[0]?.remaining, 10)
    rates.giveBack(tenant({}), 'tokens', 1)
  })

  test('of a tenant that is made again begin anew', () => {
    const { taken } = ratesWithClock()
    const acme = tenant({ tokensPerSecond: 1 })
    assert.equal(taken(acme, 'tokens', 100), true)
    assert.equal(taken(acme, 'tokens', 1), 100)
    assert.equal(taken({ ...acme, incarnation: 'another' }, 'tokens', 1), true)
  })

  test('are each tenant’s own, and of requests and tokens apart', () => {
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

  test('follow a limit that is changed', () => {
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
