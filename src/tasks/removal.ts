// Deletes tenants. A tenant can have many tasks, so this takes many transactions. The first closes the tenant, and nobody can
// use it from then on; the last frees its id. A deletion can be interrupted at any point, and several processes can work on
// the same one, so each transaction checks that the id still belongs to this tenant.

import { setTimeout } from 'node:timers/promises'
import { type AuditLog, audit, auditIfUnknown } from '../tenants/audit.js'
import type { Leaving, Tenants } from '../tenants/tenants.js'
import type { TaskStore } from './store.js'

export interface TenantStores {
  readonly tenants: Tenants
  readonly tasks: TaskStore
}

/** Who deletes a tenant, and the log for each step. */
export interface Remover {
  readonly actor: string
  readonly logger: AuditLog & { error(details: object, message: string): void }
}

/** Pauses between searches for interrupted deletions, in milliseconds. */
export interface Pauses {
  /** After a search without failures. */
  readonly look: number
  /** After a failure. It doubles with each further one, up to `look`. */
  readonly retry: number
}

const pauses: Pauses = { look: 60_000, retry: 1_000 }

/**
 * Deletes a tenant with its API keys and tasks, or continues an interrupted deletion.
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

/** Searches for interrupted deletions and finishes them, again and again until the signal aborts. */
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

/** @returns whether something failed; the log has the reason */
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
      'cannot search for interrupted deletions of tenants; the server will try again',
    )
    failed = true
  }
  return failed
}

/** @param signal stops it between two transactions without an error */
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
    // If another process finished the deletion, that process wrote the line.
    if (before) audit(logger, actor, { ...change, before })
  } catch (error) {
    logger.error(
      { tenant: id, incarnation, tasks: stored.tasks, removed, reason: (error as Error).message },
      'the deletion of a tenant was interrupted; a server on this store will continue it',
    )
    throw error
  }
}
