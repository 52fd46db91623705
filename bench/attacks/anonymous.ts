// Attacks that need no API key: connections, headers, and requests that the server rejects.

import { randomBytes } from 'node:crypto'
import { type Attack, anyResponse, many, onlyRejected, type Sending, send } from './attack.js'
import type { AttackTarget } from './target.js'

const path = '/tasks/sst2/predict'
/** Just below the default limit for the headers of a request. */
const longHeader = { 'x-long': 'x'.repeat(15_000) }
/** Above the default limit for connections. */
const tooManyConnections = 4_500

/** Streams a body of 250 MB with a content-length. */
function streamBody(target: AttackTarget): Sending {
  const [piece, pieces] = [Buffer.alloc(1_000_000, ' '), 250]
  const headers = { 'content-type': 'application/json' }
  const head = target.request('POST', path, { headers, contentLength: piece.length * pieces })
  return { kind: 'stream', bodies: [{ head, piece, pieces, tail: Buffer.alloc(0) }] }
}

export const anonymousAttacks: readonly Attack[] = [
  {
    name: 'without-key',
    sends: 'requests without an API key',
    by: 'anonymous',
    connections: 64,
    allowed: onlyRejected,
    prepare: (target) => send(target.post(path, { inputs: 'a' })),
  },
  {
    name: 'unknown-keys',
    sends: 'requests with 1,000 unknown API keys',
    by: 'anonymous',
    connections: 64,
    allowed: onlyRejected,
    prepare: (target) => {
      const key = () => `Bearer propetl_${randomBytes(32).toString('base64url')}`
      return send(...many(1_000, () => target.post(path, { inputs: 'a' }, { authorization: key() })))
    },
  },
  {
    name: 'bodies-without-key',
    sends: 'bodies of 250 MB without an API key, as fast as the server reads them',
    by: 'anonymous',
    connections: 16,
    allowed: onlyRejected,
    prepare: streamBody,
  },
  {
    name: 'bodies-too-large',
    sends: 'bodies of 250 MB with an API key, as fast as the server reads them',
    by: 'tenant',
    connections: 16,
    allowed: onlyRejected,
    prepare: streamBody,
  },
  {
    name: 'long-headers',
    sends: 'requests with 15 KB of headers',
    by: 'anonymous',
    connections: 64,
    allowed: anyResponse,
    prepare: (target) => send(target.get('/health/live', longHeader), target.get('/tasks', longHeader)),
  },
  {
    name: 'headers-held',
    sends: '15 KB of headers that do not end, on more connections than the limit',
    by: 'anonymous',
    connections: tooManyConnections,
    allowed: anyResponse,
    prepare: (target) => ({
      kind: 'hold',
      bytes: target.get('/health/live', longHeader).subarray(0, -2),
      reads: true,
    }),
  },
  {
    name: 'idle-connections',
    sends: 'nothing, on more connections than the limit',
    by: 'anonymous',
    connections: tooManyConnections,
    allowed: anyResponse,
    prepare: () => ({ kind: 'hold', bytes: Buffer.alloc(0), reads: true }),
  },
  {
    name: 'kept-connections',
    sends: 'one request, and keeps the connection open, on more connections than the limit',
    by: 'anonymous',
    connections: tooManyConnections,
    allowed: anyResponse,
    prepare: (target) => ({ kind: 'hold', bytes: target.get('/health/live'), reads: true }),
  },
  {
    name: 'short-connections',
    sends: 'requests on connections that are reset after 2 ms',
    by: 'anonymous',
    connections: 64,
    allowed: anyResponse,
    prepare: (target) => ({ kind: 'abort', requests: [target.get('/tasks')], afterMs: 2 }),
  },
  {
    name: 'no-http',
    sends: 'invalid HTTP: the start of TLS, invalid lines, two lengths, an unknown transfer encoding',
    by: 'anonymous',
    connections: 64,
    allowed: onlyRejected,
    prepare: (target) => {
      const lengths = { 'content-length': '6', 'transfer-encoding': 'chunked' }
      return send(
        Buffer.from('\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 'latin1'),
        Buffer.from('GET / HTTP/9.9\r\n\r\n'),
        Buffer.from('\0'.repeat(1_000)),
        target.request('POST', path, { headers: lengths, contentLength: null }),
        target.request('POST', path, { headers: { 'transfer-encoding': 'xchunked' } }),
      )
    },
  },
  {
    name: 'unknown-addresses',
    sends: 'unknown paths of 10 KB, and methods that a path does not support',
    by: 'anonymous',
    connections: 64,
    allowed: onlyRejected,
    prepare: (target) =>
      send(
        target.get(`/${'x'.repeat(10_000)}`),
        target.get(`/tasks/${'%41'.repeat(3_000)}`),
        target.get(`/tasks?${'a=1&'.repeat(2_500)}`),
        target.request('PATCH', '/tasks/sst2'),
      ),
  },
  {
    name: 'health',
    sends: 'requests to /health/live and /health/ready',
    by: 'anonymous',
    connections: 64,
    allowed: anyResponse,
    prepare: (target) => send(target.get('/health/live'), target.get('/health/ready')),
  },
]
