// Creates, changes and lists the tenants in the store. A removal has two steps; the tenant's tasks are removed in
// between.

import { randomUUID } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { Problem } from '../problem.js'
import type { Store } from '../store/store.js'
import { removeKeys } from './keys.js'
import {
  checkTenantId,
  isLeaving,
  parseRecord,
  readRecord,
  readTenant,
  type Tenant,
  type TenantIdentity,
  type TenantRecord,
  type TenantSettings,
  tenantOf,
  unknownTenant,
} from './tenant.js'
import { removeUsage, type Usage, usageOf } from './usage.js'

/** A tenant that is being removed. */
export interface Leaving extends TenantIdentity {
  /** What it had stored when its removal began. */
  readonly stored: Usage
}

/** How many tenants are read before the event loop gets a turn. */
const tenantsPerPage = 500

export class Tenants {
  constructor(readonly store: Store) {}

  /** @throws Problem `unknown_tenant` */
  get(id: string): Tenant {
    const tenant = readTenant(this.store, id)
    if (tenant === undefined) throw unknownTenant(id)
    return tenant
  }

  /** What the tenant has stored. */
  usage(id: string): Usage {
    return usageOf(this.store, id)
  }

  /** Up to `limit` tenants whose ids follow `after`, in the order of their ids. */
  list(after: string, limit: number): Tenant[] {
    const found: Tenant[] = []
    for (const [id, bytes] of this.store.range('tenants', { after })) {
      const tenant = tenantOf(id, parseRecord(bytes))
      if (tenant !== undefined) found.push(tenant)
      if (found.length === limit) break
    }
    return found
  }

  /**
   * Creates or changes a tenant.
   * @param settings returns the new settings; its argument is undefined for a new tenant
   * @throws Problem `invalid_tenant_id`; `tenant_leaving` while a tenant with that id is being removed
   */
  async set(
    id: string,
    settings: (current: Tenant | undefined) => TenantSettings,
  ): Promise<{ tenant: Tenant; previous: Tenant | undefined }> {
    checkTenantId(id)
    return this.store.change((records) => {
      const current = readRecord(records, id)
      if (current?.leaving)
        throw new Problem('tenant_leaving', `tenant "${id}" is being removed; try again when the removal has finished`)
      const previous = tenantOf(id, current)
      const { limits, share } = settings(previous)
      // Earlier versions could leave keys behind. They would not work, but would be counted.
      if (previous === undefined) removeKeys(records, id)
      const { incarnation, created } = previous ?? newIdentity()
      const record: TenantRecord = { incarnation, created, limits, share }
      records.put('tenants', id, Buffer.from(JSON.stringify(record)))
      return { tenant: { id, ...record }, previous }
    })
  }

  /**
   * The first step of a removal: the tenant loses its keys, and no further tasks are stored for it. If it is already
   * being removed, that removal continues.
   * @returns the tenant to remove, and its settings if this call closed it
   * @throws Problem `unknown_tenant`
   */
  async close(id: string): Promise<{ leaving: Leaving; closed: Tenant | undefined }> {
    return this.store.change((records) => {
      const record = readRecord(records, id)
      if (record === undefined) throw unknownTenant(id)
      const closed = tenantOf(id, record)
      if (closed) {
        records.put('tenants', id, Buffer.from(JSON.stringify({ ...record, leaving: true } satisfies TenantRecord)))
        removeKeys(records, id)
      }
      return { leaving: { id, incarnation: record.incarnation, stored: usageOf(records, id) }, closed }
    })
  }

  /**
   * The last step of a removal, after the tasks are gone: frees the id.
   * @returns what the tenant had stored; undefined if another process has done this step
   */
  async forget(leaving: TenantIdentity): Promise<Usage | undefined> {
    const { id } = leaving
    return this.store.change((records) => {
      if (!isLeaving(records, leaving)) return undefined
      const usage = usageOf(records, id)
      records.remove('tenants', id)
      removeKeys(records, id)
      removeUsage(records, id)
      return usage
    })
  }

  /** Tenants whose removal has started and not finished. */
  async *leaving(): AsyncIterable<Leaving> {
    for (let after = ''; ; ) {
      const page = [...this.store.range('tenants', { after, limit: tenantsPerPage })]
      for (const [id, bytes] of page) {
        const { incarnation, leaving } = parseRecord(bytes)
        if (leaving) yield { id, incarnation, stored: this.usage(id) }
      }
      const last = page.at(-1)
      if (last === undefined) return
      after = last[0]
      // Lets requests be handled in between.
      await setImmediate()
    }
  }
}

const newIdentity = (): Pick<Tenant, 'incarnation' | 'created'> => ({
  incarnation: randomUUID(),
  created: new Date().toISOString(),
})
