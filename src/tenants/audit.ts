// The audit trail: one line of the log for every change of tasks, keys and tenants, over HTTP or by a command, and for
// every change of which the store cannot say whether it was made.

import type { Owner } from '../owner.js'
import { Problem } from '../problem.js'

export interface Change {
  /** A tenant is removed from `tenant.close`, when it is gone for everybody, to `tenant.delete`, when its id is free. */
  readonly action:
    | 'task.put'
    | 'task.delete'
    | 'tenant.put'
    | 'tenant.close'
    | 'tenant.delete'
    | 'key.create'
    | 'key.revoke'
  /** Whose it is. */
  readonly tenant: Owner
  /** Of the tenant, where the change is one of the tenant itself: its id may have been another's before. */
  readonly incarnation?: string
  /** A task's, key's or tenant's id. */
  readonly object: string
  /** What was there and what is there now: a task's digest, a tenant's settings. Absent for nothing. */
  readonly before?: unknown
  readonly after?: unknown
  /** Whether the change was made is not known, and the rest of the line says what was tried. Absent: it was made. */
  readonly outcome?: 'unknown'
}

/** What the line is written to: pino, or what fastify knows of it. */
export interface AuditLog {
  readonly level: string
  child(bindings: object, options: { readonly level: string }): { info(line: object, message: string): void }
}

/** Who makes a change with a key: its owner and id. Without keys that is a server's only user. */
export const actorOf = ({ owner, key }: { readonly owner: Owner; readonly key: string | null }): string =>
  key === null ? owner : `${owner}/${key}`

/** Writes the line, however few others the log's level lets through, unless that is none at all. */
export function audit(logger: AuditLog, actor: string, change: Change): void {
  if (logger.level === 'silent') return
  logger.child({ audit: true }, { level: 'info' }).info({ actor, ...change }, 'audit')
}

/**
 * Waits for a change. If its outcome is unknown, writes a line with what was tried.
 * @param tried is called only then
 */
export async function auditIfUnknown<T>(
  logger: AuditLog,
  actor: string,
  change: Promise<T>,
  tried: (problem: Problem) => Change,
): Promise<T> {
  try {
    return await change
  } catch (error) {
    if (isOutcomeUnknown(error)) audit(logger, actor, { ...tried(error), outcome: 'unknown' })
    throw error
  }
}

/** Whether a change failed in such a way that it may have been made. */
export const isOutcomeUnknown = (error: unknown): error is Problem =>
  error instanceof Problem && error.code === 'outcome_unknown'
