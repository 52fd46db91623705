// The audit trail: one log line for every change of tasks, keys and tenants, made over HTTP or by a command, and for
// every change whose outcome is unknown.

import type { Owner } from '../owner.js'
import { Problem } from '../problem.js'

export interface Change {
  /**
   * A removal of a tenant starts with `tenant.close`: it has no access. It ends with `tenant.delete`: its id is free.
   */
  readonly action:
    | 'task.put'
    | 'task.delete'
    | 'version.activate'
    | 'version.candidate'
    | 'version.delete'
    | 'examples.put'
    | 'examples.delete'
    | 'example.patch'
    | 'job.create'
    | 'job.cancel'
    | 'job.finish'
    | 'task.settings'
    | 'tenant.put'
    | 'tenant.close'
    | 'tenant.delete'
    | 'key.create'
    | 'key.revoke'
  /** The owner of the object. */
  readonly tenant: Owner
  /** For changes of a tenant: another tenant may have had the same id before. */
  readonly incarnation?: string
  /** The id of a task, job, key or tenant. */
  readonly object: string
  /** The old and the new state: a task's digest, or a tenant's settings. Absent if there is none. */
  readonly before?: unknown
  readonly after?: unknown
  /** It is unknown whether the change was made; the line says what was tried. If absent, the change was made. */
  readonly outcome?: 'unknown'
}

/** The part of a pino or fastify logger that the audit trail needs. */
export interface AuditLog {
  readonly level: string
  child(bindings: object, options: { readonly level: string }): { info(line: object, message: string): void }
}

/** The owner and id of the key that a change is made with. Without keys, the only user of the server. */
export const actorOf = ({ owner, key }: { readonly owner: Owner; readonly key: string | null }): string =>
  key === null ? owner : `${owner}/${key}`

/** Writes the line at any log level except `silent`. */
export function audit(logger: AuditLog, actor: string, change: Change): void {
  if (logger.level === 'silent') return
  logger.child({ audit: true }, { level: 'info' }).info({ actor, ...change }, 'audit')
}

/**
 * Waits for a change. If its outcome is unknown, writes a line with what was tried.
 * @param tried called only if the outcome is unknown
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

/** Whether a change failed in such a way that it may still have been made. */
export const isOutcomeUnknown = (error: unknown): error is Problem =>
  error instanceof Problem && error.code === 'outcome_unknown'
