// Payers in messages between processes: what rate limits and fair queueing need to know of them.

import { defaults } from '../tenants/tenant.js'
import type { Payer } from './inference.js'
import type { SentPayer } from './protocol.js'

export function sentPayer({ owner, tenant }: Payer): SentPayer {
  if (tenant === undefined) return { owner }
  const { incarnation, share, limits } = tenant
  const { requestsPerSecond, tokensPerSecond } = limits
  return { owner, tenant: { incarnation, share, requestsPerSecond, tokensPerSecond } }
}

export function receivedPayer({ owner, tenant }: SentPayer): Payer {
  if (tenant === undefined) return { owner }
  const { incarnation, share, requestsPerSecond, tokensPerSecond } = tenant
  const limits = { ...defaults.limits, requestsPerSecond, tokensPerSecond }
  return { owner, tenant: { id: owner, incarnation, share, limits, created: '' } }
}

/** Whether the payer has a rate limit. */
export const hasRates = ({ tenant }: Payer): boolean =>
  tenant !== undefined && (tenant.limits.requestsPerSecond !== null || tenant.limits.tokensPerSecond !== null)

/** Identifies a payer. A later tenant with the same id is another payer. */
export const payerKey = ({ owner, tenant }: Payer): string => `${owner}/${tenant?.incarnation ?? ''}`
