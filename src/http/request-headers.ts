// Headers that are the same for every route: the request's id, and what Node lets through or leaves out without a word.

import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { Problem, quoted } from '../problem.js'

/** Ids that callers may choose: what is safe in a log line and a header. */
const requestIdPattern = /^[\w.:-]{1,128}$/

/** Node takes a thousand, and leaves out what is beyond. */
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
    throw new Problem('invalid_request', `the request has ${hosts} Host headers; HTTP/1.1 asks for one`)
  const { expect } = headers
  if (expect !== undefined && expect.toLowerCase() !== '100-continue')
    throw new Problem('expectation_failed', `the request expects ${quoted(expect)}; only 100-continue is known`)
}

/** @param rawHeaders names and values in turn */
function countOf(rawHeaders: readonly string[], name: string): number {
  let count = 0
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const each = rawHeaders[at]
    if (each?.length === name.length && each.toLowerCase() === name) count++
  }
  return count
}
