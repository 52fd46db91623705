// A tenant removed with all that is its own. It can be cut off at any moment: the tenant is gone for everybody at the
// first step, and whoever opens the store next finishes.

import type { Tenants } from '../tenants/tenants.js'
import type { TaskStore } from './store.js'

/**
 * Removes a tenant, its keys and its tasks.
 * @returns how many tasks it had
 * @throws Problem `unknown_tenant`
 */
export async function removeTenant(tenants: Tenants, tasks: TaskStore, id: string): Promise<number> {
  await tenants.close(id)
  const count = await tasks.clear(id)
  await tenants.forget(id)
  return count
}

/** Finishes removals that were begun before. */
export async function finishRemovals(tenants: Tenants, tasks: TaskStore): Promise<void> {
  for (const id of [...tenants.leaving()]) await removeTenant(tenants, tasks, id)
}
