// The tenants in the store: made, changed, listed, and removed in two steps, for their tasks may be many.

import { Problem } from '../problem.js'
import type { Store } from '../store/store.js'
import { removeKeys } from './keys.js'
import {
  checkTenantId,
  parseRecord,
  readRecord,
  readTenant,
  type Tenant,
  type TenantRecord,
  type TenantSettings,
  tenantOf,
  unknownTenant,
} from './tenant.js'
import { removeUsage, type Usage, usageOf } from './usage.js'

export class Tenants {
  constructor(readonly store: Store) {}

  /** @throws Problem `unknown_tenant` */
  get(id: string): Tenant {
    const tenant = readTenant(this.store, id)
    if (tenant === undefined) throw unknownTenant(id)
    return tenant
  }

  /** What it has stored. */
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
   * Makes a tenant, or changes one.
   * @param settings what it is to have, from what it has: undefined where it is new
   * @throws Problem `invalid_tenant_id`; `tenant_leaving` while one of that name is being removed
   */
  async set(
    id: string,
    settings: (current: Tenant | undefined) => TenantSettings,
  ): Promise<{ tenant: Tenant; previous: Tenant | undefined }> {
    checkTenantId(id)
    return this.store.change((records) => {
      const current = readRecord(records, id)
      if (current?.leaving)
        throw new Problem('tenant_leaving', `tenant "${id}" is being removed; its name is free once that is done`)
      const previous = tenantOf(id, current)
      const { limits, share } = settings(previous)
      const record: TenantRecord = { created: previous?.created ?? new Date().toISOString(), limits, share }
      records.put('tenants', id, Buffer.from(JSON.stringify(record)))
      return { tenant: { id, ...record }, previous }
    })
  }

  /**
   * The first step of removing a tenant: from now on none of its keys is one, and it takes no task. Of a tenant that is
   * leaving already nothing changes.
   * @throws Problem `unknown_tenant`
   */
  async close(id: string): Promise<void> {
    await this.store.change((records) => {
      const record = readRecord(records, id)
      if (record === undefined) throw unknownTenant(id)
      records.put('tenants', id, Buffer.from(JSON.stringify({ ...record, leaving: true } satisfies TenantRecord)))
      removeKeys(records, id)
    })
  }

  /** The last step, once its tasks are gone: the name is free. */
  async forget(id: string): Promise<void> {
    await this.store.change((records) => {
      records.remove('tenants', id)
      removeUsage(records, id)
    })
  }

  /** Ids of tenants whose removal was begun and is not done. */
  *leaving(): Iterable<string> {
    for (const [id, bytes] of this.store.range('tenants')) if (parseRecord(bytes).leaving) yield id
  }
}
