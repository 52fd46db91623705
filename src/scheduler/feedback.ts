// What the scheduler has learned from each tenant's requests: how accurate its wait estimates are, and how late the event
// loop was. It is kept per tenant, so that no tenant's load or deadlines decide whether another tenant is admitted.

import { LRUCache } from 'lru-cache'
import { Calibration } from './calibration.js'
import { EventLoopLag } from './event-loop-lag.js'

/** Most tenants whose feedback is kept. Beyond it, the least recently seen tenant is evicted. */
const maxTenants = 4_096

export interface Feedback {
  readonly calibration: Calibration
  readonly lag: EventLoopLag
}

export class FeedbackByTenant {
  readonly #tenants = new LRUCache<string, Feedback>({ max: maxTenants })

  of(tenant: string): Feedback {
    const known = this.#tenants.get(tenant)
    if (known !== undefined) return known
    const fresh = { calibration: new Calibration(), lag: new EventLoopLag() }
    this.#tenants.set(tenant, fresh)
    return fresh
  }
}
