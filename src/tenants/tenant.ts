// A tenant: an id that tasks and keys belong to, with its limits. An id can be used again after a removal. Each tenant
// therefore also has a random incarnation, which every change for it compares.

import type { Owner } from '../owner.js'
import { Problem, quoted } from '../problem.js'
import type { StoreReader } from '../store/store.js'

/** Runs the server, manages tenants, and owns the tasks that belong to no tenant. */
export const operator = 'operator'
/** Owner of keys that can only read the metrics. */
export const scraper: Owner = 'metrics'
/** The label of metrics for all tenants that have no series of their own. */
export const otherTenants = 'other'

export const reserved: readonly string[] = [operator, scraper, otherTenants]
export const tenantIdPattern = '^[a-z0-9][a-z0-9-]{0,62}$'
const tenantId = new RegExp(tenantIdPattern)

/** A tenant's limits. Null is unlimited. */
export interface Limits {
  readonly tasks: number | null
  /** Of all task files and examples together. */
  readonly bytes: number | null
  /** Of all tasks together. */
  readonly examples: number | null
  readonly requestsPerSecond: number | null
  /** Including special tokens. */
  readonly tokensPerSecond: number | null
}

export interface TenantSettings {
  readonly limits: Limits
  /** The tenant's weight in fair queueing for the engines. */
  readonly share: number
}

/** Identifies a tenant, whatever its settings are. */
export interface TenantIdentity {
  readonly id: string
  /**
   * Random. A later tenant with the same id has another one. Empty for tenants of versions that had no incarnations.
   */
  readonly incarnation: string
}

export interface Tenant extends TenantIdentity, TenantSettings {
  /** ISO 8601. */
  readonly created: string
}

/** The owner of tasks that are to be changed. The id alone could also mean a later tenant. */
export type TaskOwner = typeof operator | TenantIdentity

export const ownerOf = (owner: TaskOwner): Owner => (owner === operator ? operator : owner.id)

export const defaults: TenantSettings = {
  limits: { tasks: null, bytes: null, examples: null, requestsPerSecond: null, tokensPerSecond: null },
  share: 1,
}

export const limitNames = Object.keys(defaults.limits) as (keyof Limits)[]
/** The largest value of any limit. Larger counts would be inexact. */
export const maxLimit = Number.MAX_SAFE_INTEGER
export const maxShare = 1_000

/** @throws Problem `invalid_tenant_id` */
export function checkTenantId(id: string): string {
  if (!tenantId.test(id))
    throw new Problem(
      'invalid_tenant_id',
      `${quoted(id)} is not a tenant id; expected 1 to 63 characters of a-z, 0-9 and "-", starting with a letter or digit`,
    )
  if (reserved.includes(id))
    throw new Problem('invalid_tenant_id', `"${id}" cannot be a tenant id; ${reserved.join(', ')} are reserved`)
  return id
}

/** A tenant in the store, without its id. */
export interface TenantRecord extends Omit<Tenant, 'id'> {
  /** The tenant is being removed: it has no access. Its id is free once its last task is gone. */
  readonly leaving?: true
}

/** Records of earlier versions of the program may lack the incarnation and some limits. */
export function parseRecord(bytes: Buffer): TenantRecord {
  const record = JSON.parse(bytes.toString()) as Omit<TenantRecord, 'incarnation'> & Partial<TenantRecord>
  return { incarnation: '', ...record, limits: { ...defaults.limits, ...record.limits } }
}

/** The record of an id, if there is one. A text that cannot be an id is not looked up. */
export function readRecord(records: StoreReader, id: string): TenantRecord | undefined {
  const bytes = tenantId.test(id) ? records.get('tenants', id) : undefined
  return bytes && parseRecord(bytes)
}

/** The tenant of a record; undefined if it is being removed. */
export const tenantOf = (id: string, record: TenantRecord | undefined): Tenant | undefined =>
  record === undefined || record.leaving ? undefined : { id, ...record }

/** The tenant with an id, if there is one. */
export const readTenant = (records: StoreReader, id: string): Tenant | undefined =>
  tenantOf(id, readRecord(records, id))

/** The current state of a tenant. Undefined if it is being removed or gone, even if a later tenant has its id. */
export function readSameTenant(records: StoreReader, { id, incarnation }: TenantIdentity): Tenant | undefined {
  const tenant = readTenant(records, id)
  return tenant?.incarnation === incarnation ? tenant : undefined
}

/** Whether this tenant is being removed. A later tenant with its id does not count. */
export function isLeaving(records: StoreReader, { id, incarnation }: TenantIdentity): boolean {
  const record = readRecord(records, id)
  return record?.leaving === true && record.incarnation === incarnation
}

export const unknownTenant = (id: string): Problem => new Problem('unknown_tenant', `there is no tenant ${quoted(id)}`)
