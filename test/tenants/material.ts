// Stores with tenants for tests.

import { pino } from 'pino'
import { LmdbStore } from '../../src/store/lmdb.js'
import { TaskStore } from '../../src/tasks/store.js'
import { defaults, type Limits, type Tenant } from '../../src/tenants/tenant.js'
import { Tenants } from '../../src/tenants/tenants.js'
import { temporaryDirectory } from '../material.js'

export const anyVersion = () => {}

export async function openStore(directory?: string) {
  const store = LmdbStore.open(directory ?? (await temporaryDirectory()))
  return { store, tasks: await TaskStore.open(store), tenants: new Tenants(store) }
}

/** Creates a tenant. */
export const newTenant = async (tenants: Tenants, id: string, limits: Partial<Limits> = {}): Promise<Tenant> =>
  (await tenants.set(id, limited(limits))).tenant

/** The context of removals. Collects the steps in the audit trail, and the log lines. */
export function removerOf(actor: string) {
  const lines: Record<string, unknown>[] = []
  const logger = pino({}, { write: (line: string) => void lines.push(JSON.parse(line)) })
  const steps = () => lines.flatMap(({ audit, action }) => (audit ? [String(action)] : []))
  return { actor, logger, lines, steps }
}

export const limited = (limits: Partial<Limits>) => () => ({ ...defaults, limits: { ...defaults.limits, ...limits } })
