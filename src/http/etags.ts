// Conditional requests (RFC 9110, section 13). The ETag of a task is the digest of its file.

import { Problem, quoted } from '../problem.js'
import type { Precondition } from '../tasks/store.js'

export const etagOf = (digest: string): string => `"${digest}"`

/** `*` or a list of entity tags. Empty members are allowed (RFC 9110, sections 5.6.1 and 8.8.3). */
export const etagsPattern =
  '^[ \\t]*(\\*|,?[ \\t]*(W/)?"[!#-~\\u0080-\\u00ff]*"[ \\t]*(,[ \\t]*((W/)?"[!#-~\\u0080-\\u00ff]*"[ \\t]*)?)*)$'

export interface ConditionHeaders {
  readonly 'if-match'?: string | undefined
  readonly 'if-none-match'?: string | undefined
}

/**
 * Whether a header names the current version; `*` names any.
 * @param current undefined if there is no such task
 * @param weakly whether a weak tag `W/"…"` counts as its strong one, as in If-None-Match
 */
function names(header: string, current: string | undefined, weakly: boolean): boolean {
  if (current === undefined) return false
  if (header.trim() === '*') return true
  const tags = header.matchAll(/(W\/)?("[^"]*")/g)
  return [...tags].some(([, weak, tag]) => tag === etagOf(current) && (weakly || weak === undefined))
}

/** Makes the check of the current version before a change. The check throws Problem `precondition_failed`. */
export function preconditionOf(headers: ConditionHeaders): Precondition {
  const { 'if-match': match, 'if-none-match': noneMatch } = headers
  return (current) => {
    if (match !== undefined && !names(match, current, false)) throwPreconditionFailed('If-Match', match, current)
    if (noneMatch !== undefined && names(noneMatch, current, true))
      throwPreconditionFailed('If-None-Match', noneMatch, current)
  }
}

/**
 * Whether the client has the current version already, so that the response is 304.
 * @throws Problem `precondition_failed` if it expected another version
 */
export function isUnchanged(headers: ConditionHeaders, current: string): boolean {
  const { 'if-match': match, 'if-none-match': noneMatch } = headers
  if (match !== undefined && !names(match, current, false)) throwPreconditionFailed('If-Match', match, current)
  return noneMatch !== undefined && names(noneMatch, current, true)
}

function throwPreconditionFailed(header: string, value: string, current: string | undefined): never {
  const is = current === undefined ? 'there is no such task' : `the ETag of the task is ${etagOf(current)}`
  throw new Problem('precondition_failed', `${header} is ${quoted(value)}, but ${is}`, {
    version: current ?? null,
  })
}
