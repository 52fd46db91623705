// Problem responses that are written to a socket. A request that is not valid HTTP or arrives too late reaches no route.

import { randomUUID } from 'node:crypto'
import { STATUS_CODES } from 'node:http'
import type { FastifyBaseLogger } from 'fastify'
import { shortened } from '../problem.js'
import { maxPipelined, tooManyPipelined, type WriteProblem } from './connections.js'
import { problemBody, problems } from './problems.js'
import type { ResponseHeaders } from './response-headers.js'

/** How long the socket stays open so that the client can read the response, in milliseconds. */
const lingerMs = 1_000

const known: Partial<Record<string, readonly [code: keyof typeof problems, detail: string]>> = {
  ERR_HTTP_REQUEST_TIMEOUT: [
    'request_timeout',
    'the request took too long to arrive; send it faster, or see --receive-timeout-ms',
  ],
  HPE_HEADER_OVERFLOW: [
    'headers_too_large',
    'the request line and the headers are too large; shorten them, or see --max-header-bytes',
  ],
  ERR_SSL_HTTP_REQUEST: ['invalid_request', 'this port accepts only HTTPS; begin the URL with https://'],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: ['body_too_large', 'the chunk extensions of the body are too long'],
  [tooManyPipelined]: [
    'invalid_request',
    `the connection has too many pipelined requests; send at most ${maxPipelined} before the first response`,
  ],
}

/** Each response has its own request id, which is logged. */
export const problemWriter =
  (headers: ResponseHeaders, log: FastifyBaseLogger | undefined): WriteProblem =>
  (socket, error) => {
    const requestId = randomUUID()
    const detailOfParser = `this is not a valid HTTP request: ${shortened(error.message, 200)}`
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
    // The client should close its side first, but the server does not wait forever.
    setTimeout(() => socket.destroy(), lingerMs).unref()
    log?.info({ request_id: requestId, status, code, detail }, 'request rejected')
  }
