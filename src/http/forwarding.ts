// Passes requests of an HTTP worker on to the application of the primary process, over a Unix socket. Bodies are streamed in
// both directions at the pace of the slower side, and a disconnect of either side ends the other.
//
// Libraries for this (undici and what builds on it) reject the Expect header, and rewrite other headers.

import { type IncomingMessage, type RequestListener, request as sendRequest } from 'node:http'
import type { FastifyBaseLogger } from 'fastify'
import { reasonOf } from '../problem.js'
import { tooTiny } from './bodies.js'
import { Request } from './connections.js'
import { problemBody, problems } from './problems.js'
import { requestIdOf } from './request-headers.js'
import type { ResponseHeaders } from './response-headers.js'

/** Headers of one connection. The connection between the processes has its own (RFC 9110, section 7.6.1). */
const ofConnection = ['connection', 'keep-alive', 'proxy-connection', 'te', 'transfer-encoding', 'upgrade']

/** Errors of a request that the primary process has not received. */
const neverArrived: readonly (string | undefined)[] = ['ENOENT', 'ECONNREFUSED']

const isSafe = ({ method = '' }: IncomingMessage): boolean => ['GET', 'HEAD', 'OPTIONS'].includes(method)

/**
 * Makes the function that forwards requests.
 * @param headers of every response, also of one that is made here
 */
export const forwarder =
  (socketPath: string, headers: ResponseHeaders, log: Pick<FastifyBaseLogger, 'error' | 'info'>): RequestListener =>
  (request, response) => {
    /** Responds in place of the primary process, or ends a response that is incomplete. */
    const fail = (code: 'engine_lost' | 'invalid_request' | 'outcome_unknown', detail: string): void => {
      if (response.destroyed) return
      if (response.headersSent) {
        response.destroy()
        return
      }
      const { status } = problems[code]
      const requestId = requestIdOf(request)
      const body = JSON.stringify(problemBody(code, detail, requestId))
      response.writeHead(status, {
        ...headers,
        'x-request-id': requestId,
        'content-type': 'application/problem+json',
        'content-length': Buffer.byteLength(body),
        // The rest of the body is not read.
        connection: 'close',
      })
      response.end(body)
    }
    const upstream = sendRequest({
      socketPath,
      method: request.method,
      path: request.url,
      headers: requestHeaders(request),
      // A connection that was kept could be closed just when the next request is sent on it.
      agent: false,
    })
    // The headers can be reason enough to reject the request, and its body may never come.
    upstream.flushHeaders()
    let responded = false
    upstream.on('continue', () => response.writeContinue())
    upstream.on('response', (received) => {
      responded = true
      response.writeHead(received.statusCode ?? 500, received.statusMessage, responseHeaders(received))
      received.on('error', () => response.destroy())
      received.pipe(response)
    })
    upstream.on('error', (error: NodeJS.ErrnoException) => {
      // A response that came before the whole request was sent is still complete.
      if (responded || response.destroyed) return
      log.error({ reason: reasonOf(error) }, 'a request could not be passed to the primary process')
      if (isSafe(request) || neverArrived.includes(error.code))
        fail('engine_lost', 'the process that runs the engines does not respond; try again later')
      else
        fail('outcome_unknown', 'the process that makes changes did not respond; the change may have been made or not')
    })
    response.once('close', () => upstream.destroy())
    request.on('data', () => {
      // Such a body is no longer read as a whole.
      if (!(request instanceof Request) || !request.hasTinyPieces || responded) return
      const { message } = tooTiny()
      fail('invalid_request', message)
      log.info({ method: request.method, reason: message }, 'request rejected')
      request.unpipe(upstream)
      upstream.destroy()
    })
    request.pipe(upstream)
  }

function requestHeaders({ rawHeaders, headers, httpVersion, method }: IncomingMessage): string[] {
  const kept = [...withoutConnection(rawHeaders), 'connection', 'keep-alive']
  if (headers['transfer-encoding'] !== undefined) kept.push('transfer-encoding', 'chunked')
  // Node would otherwise send an empty chunked body, or the name of this machine as the host.
  else if (headers['content-length'] === undefined && method !== 'GET' && method !== 'HEAD')
    kept.push('content-length', '0')
  if (headers.host === undefined && httpVersion === '1.0') kept.push('host', 'localhost')
  return kept
}

function responseHeaders({ rawHeaders, headers }: IncomingMessage): string[] {
  const kept = withoutConnection(rawHeaders)
  // The application closes a connection whose request it did not read.
  if (headers.connection === 'close') kept.push('connection', 'close')
  return kept
}

/** @param raw names and values alternately */
function withoutConnection(raw: readonly string[]): string[] {
  const kept: string[] = []
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const [name = '', value = ''] = raw.slice(at, at + 2)
    if (!ofConnection.includes(name.toLowerCase())) kept.push(name, value)
  }
  return kept
}
