// How fast tenants may ask: token buckets for requests and for tokens, in this process alone. Of several replicas each
// has its own.

import { LRUCache } from 'lru-cache'
import { Problem } from '../problem.js'
import type { Tenant } from './tenant.js'

export type Rate = 'requests' | 'tokens'

/** How one of a tenant's rates stands. */
export interface RateStatus {
  readonly rate: Rate
  /** What the bucket holds when it is full: one second's worth. */
  readonly quota: number
  /** What may be taken now; 0 in debt. */
  readonly remaining: number
  /** Until the bucket is full again, in seconds, rounded up. */
  readonly fullAfter: number
}

/** Enough for tenants that are at work at once; an idle tenant's bucket is full, as a new one is. */
const maxBuckets = 100_000

/** What adding up fractions may be off by. */
const rounding = 1e-6

export class Rates {
  readonly #buckets = new LRUCache<string, Bucket>({ max: maxBuckets })

  constructor(
    /** In milliseconds. */
    readonly now: () => number = () => performance.now(),
  ) {}

  /**
   * Takes what a request costs. It is let in while at least 1 is left, and what it costs beyond that is a debt, so that
   * no request is too large to ever be let in, and the rate holds over time. A cost of 0 only looks.
   * @throws Problem `rate_limited`
   */
  take(tenant: Tenant, rate: Rate, cost: number): void {
    const { id, limits } = tenant
    const quota = limits[`${rate}PerSecond`]
    if (quota === null) return
    const bucket = this.#bucket(tenant, rate)
    const level = bucket.level(quota, this.now())
    if (level < 1 - rounding) {
      const seconds = Math.ceil((1 - level) / quota)
      throw new Problem(
        'rate_limited',
        `tenant "${id}" may take ${quota} ${rate} a second; try again in ${seconds} s`,
        {
          quota: `${rate}_per_second`,
          limit: quota,
          retry_after_s: seconds,
        },
      )
    }
    bucket.take(cost)
  }

  /** Gives back what was taken for work that was not done. */
  giveBack(tenant: Tenant, rate: Rate, cost: number): void {
    if (tenant.limits[`${rate}PerSecond`] !== null) this.#bucket(tenant, rate).take(-cost)
  }

  /** How the rates stand that the tenant has. */
  statuses(tenant: Tenant): RateStatus[] {
    return (['requests', 'tokens'] as const).flatMap((rate) => {
      const quota = tenant.limits[`${rate}PerSecond`]
      if (quota === null) return []
      const level = this.#bucket(tenant, rate).level(quota, this.now())
      return [{ rate, quota, remaining: Math.max(0, Math.floor(level)), fullAfter: Math.ceil((quota - level) / quota) }]
    })
  }

  /** A tenant that is made again under the name of a removed one does not take over its debt. */
  #bucket({ id, incarnation }: Tenant, rate: Rate): Bucket {
    const name = `${id}/${incarnation}/${rate}`
    const found = this.#buckets.get(name)
    if (found) return found
    const bucket = new Bucket()
    this.#buckets.set(name, bucket)
    return bucket
  }
}

/** Fills at its rate up to one second's worth. The rate may be another at each look. */
class Bucket {
  #level = Number.POSITIVE_INFINITY
  #since = 0

  /** What it holds at a moment; negative in debt. */
  level(perSecond: number, now: number): number {
    this.#level = Math.min(perSecond, this.#level + (perSecond * (now - this.#since)) / 1000)
    this.#since = now
    return this.#level
  }

  take(cost: number): void {
    this.#level -= cost
  }
}
