// Checks of request headers that are the same for every route: the request id, and what Node accepts or drops silently.

import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { Problem, quoted } from '../problem.js'

/** Request ids that clients may choose: safe in a log line and a header. */
const requestIdPattern = /^[\w.:-]{1,128}$/

/** Node accepts a thousand headers and drops the rest. */
const maxHeaders = 200

export function requestIdOf({ headers }: Pick<IncomingMessage, 'headers'>): string {
  const given = headers['x-request-id']
  return typeof given === 'string' && requestIdPattern.test(given) ? given : randomUUID()
}

/** @throws Problem `headers_too_large`, `invalid_request`, `expectation_failed` */
export function checkHeaders({ rawHeaders, headers, httpVersion }: IncomingMessage): void {
  if (rawHeaders.length > 2 * maxHeaders)
    throw new Problem('headers_too_large', `the request has more than ${maxHeaders} headers`)
  const hosts = countOf(rawHeaders, 'host')
  if (hosts > 1 || (hosts === 0 && httpVersion === '1.1'))
    throw new Problem('invalid_request', `the request has ${hosts} Host headers; HTTP/1.1 requires exactly one`)
  const { expect } = headers
  if (expect !== undefined && expect.toLowerCase() !== '100-continue')
    throw new Problem('expectation_failed', `the Expect header is ${quoted(expect)}; only 100-continue is supported`)
}

/** @param rawHeaders names and values alternately */
function countOf(rawHeaders: readonly string[], name: string): number {
  let count = 0
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const each = rawHeaders[at]
    if (each?.length === name.length && each.toLowerCase() === name) count++
  }
  return count
}
