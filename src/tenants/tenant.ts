// A tenant: a name that tasks and keys belong to, and what it may take of the server.

import { Problem, quoted } from '../problem.js'
import type { StoreReader } from '../store/store.js'

/** Whose a task or a key is: a tenant's id, or a name below that no tenant may have. */
export type Owner = string

/** Who runs the server: manages tenants, and owns the tasks that are no tenant's. */
export const operator: Owner = 'operator'
/** Who may read the metrics, and nothing else. */
export const scraper: Owner = 'metrics'
/** What metrics call the tenants that have no series of their own. */
export const otherTenants = 'other'

export const reserved: readonly string[] = [operator, scraper, otherTenants]
export const tenantIdPattern = '^[a-z0-9][a-z0-9-]{0,62}$'
const tenantId = new RegExp(tenantIdPattern)

/** What a tenant may take; null is no limit. */
export interface Limits {
  readonly tasks: number | null
  /** Of all its task files together. */
  readonly bytes: number | null
  readonly requestsPerSecond: number | null
  /** Tokens of texts, special tokens included. */
  readonly tokensPerSecond: number | null
}

export interface TenantSettings {
  readonly limits: Limits
  /** Weight of its turns at the engine, against other tenants'. */
  readonly share: number
}

export interface Tenant extends TenantSettings {
  readonly id: string
  /** ISO 8601. */
  readonly created: string
}

export const defaults: TenantSettings = {
  limits: { tasks: null, bytes: null, requestsPerSecond: null, tokensPerSecond: null },
  share: 1,
}

export const limitNames = Object.keys(defaults.limits) as (keyof Limits)[]
/** The largest limit of any kind: beyond it a count would no longer be exact. */
export const maxLimit = Number.MAX_SAFE_INTEGER
export const maxShare = 1_000

/** @throws Problem `invalid_tenant_id` */
export function checkTenantId(id: string): string {
  if (!tenantId.test(id))
    throw new Problem(
      'invalid_tenant_id',
      `${quoted(id)} is not a tenant's id; expected 1 to 63 of a-z, 0-9 and "-", beginning with a letter or digit`,
    )
  if (reserved.includes(id))
    throw new Problem('invalid_tenant_id', `"${id}" cannot be a tenant's id; ${reserved.join(', ')} are reserved`)
  return id
}

/** A tenant as it is stored. */
export interface TenantRecord extends Omit<Tenant, 'id'> {
  /** It is being removed: nobody can act for it, and its name is not free before its last task is gone. */
  readonly leaving?: true
}

export const parseRecord = (bytes: Buffer): TenantRecord => JSON.parse(bytes.toString()) as TenantRecord

/** Whatever cannot be a tenant's id has no record, and is no key to look up. */
export function readRecord(records: StoreReader, id: string): TenantRecord | undefined {
  const bytes = tenantId.test(id) ? records.get('tenants', id) : undefined
  return bytes && parseRecord(bytes)
}

/** The tenant that a record is of; one that is leaving is none. */
export const tenantOf = (id: string, record: TenantRecord | undefined): Tenant | undefined =>
  record === undefined || record.leaving ? undefined : { id, ...record }

/** The tenant of an id, or undefined where there is none. */
export const readTenant = (records: StoreReader, id: string): Tenant | undefined =>
  tenantOf(id, readRecord(records, id))

export const unknownTenant = (id: string): Problem => new Problem('unknown_tenant', `there is no tenant ${quoted(id)}`)
