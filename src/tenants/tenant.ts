// A tenant: a name that tasks and keys belong to, and what it may take of the server. Names are used again, so each tenant
// also has a random incarnation, which every change that is made for it compares.

import type { Owner } from '../owner.js'
import { Problem, quoted } from '../problem.js'
import type { StoreReader } from '../store/store.js'

/** Who runs the server: manages tenants, and owns the tasks that are no tenant's. */
export const operator = 'operator'
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

/** A tenant, whatever its settings are. */
export interface TenantIdentity {
  readonly id: string
  /** Made with the tenant: one made later under the same id has another. Empty for tenants from before there were any. */
  readonly incarnation: string
}

export interface Tenant extends TenantIdentity, TenantSettings {
  /** ISO 8601. */
  readonly created: string
}

/** Who changes tasks. The id alone would also name a tenant made later. */
export type TaskOwner = typeof operator | TenantIdentity

export const ownerOf = (owner: TaskOwner): Owner => (owner === operator ? operator : owner.id)

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
  /** It is being removed: nobody can act for it, and its id is free only once its last task is gone. */
  readonly leaving?: true
}

export const parseRecord = (bytes: Buffer): TenantRecord => ({
  incarnation: '',
  ...(JSON.parse(bytes.toString()) as Omit<TenantRecord, 'incarnation'> & Partial<TenantRecord>),
})

/** The record of an id. A text that cannot be an id has none, and is not looked up. */
export function readRecord(records: StoreReader, id: string): TenantRecord | undefined {
  const bytes = tenantId.test(id) ? records.get('tenants', id) : undefined
  return bytes && parseRecord(bytes)
}

/** The tenant of a record; undefined if it is leaving. */
export const tenantOf = (id: string, record: TenantRecord | undefined): Tenant | undefined =>
  record === undefined || record.leaving ? undefined : { id, ...record }

/** The tenant of an id, or undefined where there is none. */
export const readTenant = (records: StoreReader, id: string): Tenant | undefined =>
  tenantOf(id, readRecord(records, id))

/** The tenant as it is now; undefined if it is leaving or gone, even if another one has its id. */
export function readSameTenant(records: StoreReader, { id, incarnation }: TenantIdentity): Tenant | undefined {
  const tenant = readTenant(records, id)
  return tenant?.incarnation === incarnation ? tenant : undefined
}

/** Whether it is this tenant that is being removed, and not one made later under its id. */
export function isLeaving(records: StoreReader, { id, incarnation }: TenantIdentity): boolean {
  const record = readRecord(records, id)
  return record?.leaving === true && record.incarnation === incarnation
}

export const unknownTenant = (id: string): Problem => new Problem('unknown_tenant', `there is no tenant ${quoted(id)}`)
