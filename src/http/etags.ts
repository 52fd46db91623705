// Conditional requests (RFC 9110, section 13): a task's ETag is its file's digest.

import { Problem, quoted } from '../problem.js'
import type { Precondition } from '../tasks/store.js'

export const etagOf = (digest: string): string => `"${digest}"`

/** `*`, or a list of entity tags, of which empty members are ignored (RFC 9110, sections 5.6.1 and 8.8.3). */
export const etagsPattern =
  '^[ \\t]*(\\*|,?[ \\t]*(W/)?"[!#-~\\u0080-\\u00ff]*"[ \\t]*(,[ \\t]*((W/)?"[!#-~\\u0080-\\u00ff]*"[ \\t]*)?)*)$'

export interface ConditionHeaders {
  readonly 'if-match'?: string | undefined
  readonly 'if-none-match'?: string | undefined
}

/**
 * Whether a header names the current version, if there is one; `*` names any.
 * @param weakly a weak tag `W/"…"` names what its strong one does, which is asked of If-None-Match alone
 */
function names(header: string, current: string | undefined, weakly: boolean): boolean {
  if (current === undefined) return false
  if (header.trim() === '*') return true
  const tags = header.matchAll(/(W\/)?("[^"]*")/g)
  return [...tags].some(([, weak, tag]) => tag === etagOf(current) && (weakly || weak === undefined))
}

/** What must hold of the current version before a change. It throws Problem `precondition_failed`. */
export function preconditionOf(headers: ConditionHeaders): Precondition {
  const { 'if-match': match, 'if-none-match': noneMatch } = headers
  return (current) => {
    if (match !== undefined && !names(match, current, false)) throwPreconditionFailed('If-Match', match, current)
    if (noneMatch !== undefined && names(noneMatch, current, true))
      throwPreconditionFailed('If-None-Match', noneMatch, current)
  }
}

/**
 * Whether a reader has the current version already, so that 304 is the answer.
 * @throws Problem `precondition_failed` if it asked for another one
 */
export function isUnchanged(headers: ConditionHeaders, current: string): boolean {
  const { 'if-match': match, 'if-none-match': noneMatch } = headers
  if (match !== undefined && !names(match, current, false)) throwPreconditionFailed('If-Match', match, current)
  return noneMatch !== undefined && names(noneMatch, current, true)
}

function throwPreconditionFailed(header: string, value: string, current: string | undefined): never {
  const is = current === undefined ? 'there is no such task' : `the task is at version ${current}`
  throw new Problem('precondition_failed', `${header} ${quoted(value)} does not hold: ${is}`, {
    version: current ?? null,
  })
}
