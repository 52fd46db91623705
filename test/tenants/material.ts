// Tenants of a store, and changes that no test is about.

import { LmdbStore } from '../../src/store/lmdb.js'
import { TaskStore } from '../../src/tasks/store.js'
import { defaults, type Limits } from '../../src/tenants/tenant.js'
import { Tenants } from '../../src/tenants/tenants.js'
import { temporaryDirectory } from '../material.js'

export const any = () => {}

export async function openStore(directory?: string) {
  const store = LmdbStore.open(directory ?? (await temporaryDirectory()))
  return { store, tasks: await TaskStore.open(store), tenants: new Tenants(store) }
}

export const limited = (limits: Partial<Limits>) => () => ({ ...defaults, limits: { ...defaults.limits, ...limits } })
