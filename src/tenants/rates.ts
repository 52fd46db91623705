// Rate limits of tenants: token buckets for requests and for tokens, in this process. Each replica has its own.

import { LRUCache } from 'lru-cache'
import { Problem } from '../problem.js'
import type { Tenant } from './tenant.js'

export type Rate = 'requests' | 'tokens'

/** The state of one of a tenant's rate limits. */
export interface RateStatus {
  readonly rate: Rate
  /** The capacity of the bucket: the amount for one second. */
  readonly quota: number
  /** What can be taken now; 0 while the bucket is in debt. */
  readonly remaining: number
  /** Seconds until the bucket is full again, rounded up. */
  readonly fullAfter: number
}

/** Enough for all tenants that are active at the same time. The bucket of an idle tenant is full, like a new one. */
const maxBuckets = 100_000

/** Tolerance for rounding errors of sums of fractions. */
const rounding = 1e-6

export class Rates {
  readonly #buckets = new LRUCache<string, Bucket>({ max: maxBuckets })

  constructor(
    /** In milliseconds. */
    readonly now: () => number = () => performance.now(),
  ) {}

  /**
   * Takes the cost of a request. A request is accepted while at least 1 is left. Its further cost becomes a debt, so
   * that every request can be accepted some time and the rate still holds on average. With a cost of 0 this only
   * checks.
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
        `tenant "${id}" is limited to ${quota} ${rate} per second; try again in ${seconds} s`,
        {
          quota: `${rate}_per_second`,
          limit: quota,
          retry_after_s: seconds,
        },
      )
    }
    bucket.take(cost)
  }

  /** Returns the cost of work that was not done. */
  giveBack(tenant: Tenant, rate: Rate, cost: number): void {
    if (tenant.limits[`${rate}PerSecond`] !== null) this.#bucket(tenant, rate).take(-cost)
  }

  /** The state of the tenant's rate limits. */
  statuses(tenant: Tenant): RateStatus[] {
    return (['requests', 'tokens'] as const).flatMap((rate) => {
      const quota = tenant.limits[`${rate}PerSecond`]
      if (quota === null) return []
      const level = this.#bucket(tenant, rate).level(quota, this.now())
      return [{ rate, quota, remaining: Math.max(0, Math.floor(level)), fullAfter: Math.ceil((quota - level) / quota) }]
    })
  }

  /** A new tenant with the id of a removed one does not inherit its debt. */
  #bucket({ id, incarnation }: Tenant, rate: Rate): Bucket {
    const name = `${id}/${incarnation}/${rate}`
    const found = this.#buckets.get(name)
    if (found) return found
    const bucket = new Bucket()
    this.#buckets.set(name, bucket)
    return bucket
  }
}

/** Fills up to the amount for one second. The rate may change between calls. */
class Bucket {
  #level = Number.POSITIVE_INFINITY
  #since = 0

  /** The amount in the bucket at a time in milliseconds; negative while in debt. */
  level(perSecond: number, now: number): number {
    this.#level = Math.min(perSecond, this.#level + (perSecond * (now - this.#since)) / 1000)
    this.#since = now
    return this.#level
  }

  take(cost: number): void {
    this.#level -= cost
  }
}
