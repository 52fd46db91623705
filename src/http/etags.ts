// Conditional requests (RFC 9110, section 13): a task's ETag is its file's digest.

import { Problem, quoted } from '../problem.js'
import type { Precondition } from '../tasks/store.js'

export const etagOf = (digest: string): string => `"${digest}"`

export interface ConditionHeaders {
  readonly 'if-match'?: string | undefined
  readonly 'if-none-match'?: string | undefined
}

/** Whether a header names the version; `*` names any that exists. Weak tags never match a digest. */
function names(header: string, current: string | undefined): boolean {
  if (current === undefined) return false
  return header.trim() === '*' || header.split(',').some((tag) => tag.trim() === etagOf(current))
}

/** What must hold of the current version before a change. It throws Problem `precondition_failed`. */
export function preconditionOf(headers: ConditionHeaders): Precondition {
  const { 'if-match': match, 'if-none-match': noneMatch } = headers
  return (current) => {
    const is = current === undefined ? 'there is no such task' : `the task is at version ${current}`
    const refuse = (header: string, value: string): never => {
      throw new Problem('precondition_failed', `${header} ${quoted(value)} does not hold: ${is}`, {
        version: current ?? null,
      })
    }
    if (match !== undefined && !names(match, current)) refuse('If-Match', match)
    if (noneMatch !== undefined && names(noneMatch, current)) refuse('If-None-Match', noneMatch)
  }
}

/** Whether a reader has the version already, so that 304 is the answer. */
export const isUnchanged = (headers: ConditionHeaders, current: string): boolean =>
  headers['if-none-match'] !== undefined && names(headers['if-none-match'], current)
