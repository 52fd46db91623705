// Answers that are written to a socket: what is no HTTP request, or does not come in time, reaches no route.

import { randomUUID } from 'node:crypto'
import { STATUS_CODES } from 'node:http'
import type { FastifyBaseLogger } from 'fastify'
import { shortened } from '../problem.js'
import { maxPipelined, tooManyPipelined, type WriteProblem } from './connections.js'
import { problemBody, problems } from './problems.js'
import type { ResponseHeaders } from './response-headers.js'

/** How long a refused connection stays open, so that its client can read the answer, in milliseconds. */
const lingerMs = 1_000

const known: Partial<Record<string, readonly [code: keyof typeof problems, detail: string]>> = {
  ERR_HTTP_REQUEST_TIMEOUT: ['request_timeout', 'the request took too long to arrive'],
  HPE_HEADER_OVERFLOW: ['headers_too_large', "the request's line and headers are larger than this server takes"],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: ['body_too_large', 'the chunks have longer extensions than this server takes'],
  [tooManyPipelined]: [
    'invalid_request',
    `too much was sent before it was answered; at most ${maxPipelined} requests may wait on a connection`,
  ],
}

/** Each answer has an id of its own, under which it is logged. */
export const problemWriter =
  (headers: ResponseHeaders, log: FastifyBaseLogger | undefined): WriteProblem =>
  (socket, error) => {
    const requestId = randomUUID()
    const detailOfParser = `this is not an HTTP request: ${shortened(error.message, 200)}`
    const [code, detail] = known[error.code ?? ''] ?? (['invalid_request', detailOfParser] as const)
    const { status } = problems[code]
    const body = JSON.stringify(problemBody(code, detail, requestId))
    const all = {
      ...headers,
      'x-request-id': requestId,
      'content-type': 'application/problem+json',
      'content-length': Buffer.byteLength(body),
      connection: 'close',
    }
    const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
    socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join('')}\r\n${body}`)
    // Until the client has closed its side too, but not for ever.
    setTimeout(() => socket.destroy(), lingerMs).unref()
    log?.info({ request_id: requestId, status, code, detail }, 'request refused')
  }
