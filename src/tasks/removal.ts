// A tenant is removed in many transactions, for its tasks may be many. The first one closes it, so that it is gone for
// everybody; the last one frees its id. Each checks that it still is this tenant and no other of its id: a removal can
// be cut off at any moment, and several processes can work on the same one.

import { setTimeout } from 'node:timers/promises'
import { type AuditLog, audit, auditIfUnknown } from '../tenants/audit.js'
import type { Leaving, Tenants } from '../tenants/tenants.js'
import type { TaskStore } from './store.js'

export interface TenantStores {
  readonly tenants: Tenants
  readonly tasks: TaskStore
}

/** Who removes, and the log that is told of each step. */
export interface Remover {
  readonly actor: string
  readonly logger: AuditLog & { error(details: object, message: string): void }
}

/** When to look for removals that were cut off, in milliseconds. */
export interface Pauses {
  /** After all that were found are finished. */
  readonly look: number
  /** After a failure; doubled with each further one in a row, up to `look`. */
  readonly retry: number
}

const pauses: Pauses = { look: 60_000, retry: 1_000 }

/**
 * Removes a tenant, its keys and its tasks, or goes on with a removal that was begun before.
 * @returns how many tasks it had
 * @throws Problem `unknown_tenant`
 */
export async function removeTenant(stores: TenantStores, id: string, by: Remover): Promise<number> {
  const change = { action: 'tenant.close', tenant: id, object: id } as const
  const closing = stores.tenants.close(id)
  const { leaving, closed } = await auditIfUnknown(by.logger, by.actor, closing, () => change)
  if (closed) {
    const { incarnation, limits, share } = closed
    audit(by.logger, by.actor, { ...change, incarnation, before: { limits, share } })
  }
  await finish(stores, leaving, by)
  return leaving.stored.tasks
}

/** Finishes removals that were cut off, those that are found at once and those that are found later. Ends with the signal. */
export async function finishRemovals(
  stores: TenantStores,
  by: Remover,
  signal: AbortSignal,
  { look, retry }: Pauses = pauses,
): Promise<void> {
  let afterFailure = retry
  while (!signal.aborted) {
    const failed = await finishRound(stores, by, signal)
    const pause = failed ? afterFailure : look
    afterFailure = failed ? Math.min(2 * afterFailure, look) : retry
    await setTimeout(pause, undefined, { signal, ref: false }).catch(() => {})
  }
}

/** @returns whether something failed, which the log says */
async function finishRound(stores: TenantStores, by: Remover, signal: AbortSignal): Promise<boolean> {
  let failed = false
  try {
    for await (const leaving of stores.tenants.leaving()) {
      if (signal.aborted) break
      await finish(stores, leaving, by, signal).catch(() => {
        failed = true
      })
    }
  } catch (error) {
    by.logger.error(
      { reason: (error as Error).message },
      'could not look for removals that were cut off; it is tried again',
    )
    failed = true
  }
  return failed
}

/** @param signal stops it between two transactions, without an error */
async function finish(
  { tenants, tasks }: TenantStores,
  leaving: Leaving,
  { actor, logger }: Remover,
  signal?: AbortSignal,
): Promise<void> {
  const { id, incarnation, stored } = leaving
  let removed = 0
  try {
    for await (const count of tasks.clear(leaving)) {
      removed += count
      if (signal?.aborted) return
    }
    const change = { action: 'tenant.delete', tenant: id, object: id, incarnation } as const
    const before = await auditIfUnknown(logger, actor, tenants.forget(leaving), () => change)
    // Where another one finished the removal, it wrote the line.
    if (before) audit(logger, actor, { ...change, before })
  } catch (error) {
    logger.error(
      { tenant: id, incarnation, tasks: stored.tasks, removed, reason: (error as Error).message },
      'the removal of a tenant was cut off; a server on this store goes on with it',
    )
    throw error
  }
}
