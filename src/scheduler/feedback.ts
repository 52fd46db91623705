// What each tenant has experienced: how true its estimates were, and how late this process was for it. It decides about this
// tenant's requests only, so that no tenant's deadlines or load decide whether another one is admitted.

import { LRUCache } from 'lru-cache'
import { Calibration } from './admission.js'
import { EventLoopLag } from './event-loop-lag.js'

/** Tenants whose feedback is kept; one that has not asked for longest starts anew. */
const mostTenants = 4_096

export interface Feedback {
  readonly calibration: Calibration
  readonly lag: EventLoopLag
}

export class FeedbackByTenant {
  readonly #tenants = new LRUCache<string, Feedback>({ max: mostTenants })

  of(tenant: string): Feedback {
    const known = this.#tenants.get(tenant)
    if (known !== undefined) return known
    const fresh = { calibration: new Calibration(), lag: new EventLoopLag() }
    this.#tenants.set(tenant, fresh)
    return fresh
  }
}
