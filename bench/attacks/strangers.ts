// Attacks by whoever reaches the port and has no key: connections, headers, and requests that are refused.

import { randomBytes } from 'node:crypto'
import { type Attack, anyAnswer, ask, many, onlyRefused, type Sending } from './attack.js'
import type { Stage } from './stage.js'

const path = '/tasks/sst2/predict'
/** Just below the default limit of a request's headers. */
const longHeader = { 'x-long': 'x'.repeat(15_000) }
/** Above the default limit of connections. */
const tooManyConnections = 4_500

/** Sends a body of 250 MB that says its length. */
function pourBody(stage: Stage): Sending {
  const [piece, pieces] = [Buffer.alloc(1_000_000, ' '), 250]
  const headers = { 'content-type': 'application/json' }
  const head = stage.request('POST', path, { headers, contentLength: piece.length * pieces })
  return { kind: 'pour', bodies: [{ head, piece, pieces, tail: Buffer.alloc(0) }] }
}

export const strangerAttacks: readonly Attack[] = [
  {
    name: 'without-key',
    sends: 'requests without a key',
    by: 'stranger',
    connections: 64,
    allowed: onlyRefused,
    prepare: (stage) => ask(stage.post(path, { inputs: 'a' })),
  },
  {
    name: 'unknown-keys',
    sends: 'requests with 1,000 keys that nobody has',
    by: 'stranger',
    connections: 64,
    allowed: onlyRefused,
    prepare: (stage) => {
      const key = () => `Bearer propetl_${randomBytes(32).toString('base64url')}`
      return ask(...many(1_000, () => stage.post(path, { inputs: 'a' }, { authorization: key() })))
    },
  },
  {
    name: 'bodies-without-key',
    sends: 'bodies of 250 MB without a key, as fast as they are taken',
    by: 'stranger',
    connections: 16,
    allowed: onlyRefused,
    prepare: pourBody,
  },
  {
    name: 'bodies-too-large',
    sends: 'bodies of 250 MB with a key, as fast as they are taken',
    by: 'tenant',
    connections: 16,
    allowed: onlyRefused,
    prepare: pourBody,
  },
  {
    name: 'long-headers',
    sends: 'requests with 15 KB of headers',
    by: 'stranger',
    connections: 64,
    allowed: anyAnswer,
    prepare: (stage) => ask(stage.get('/health/live', longHeader), stage.get('/tasks', longHeader)),
  },
  {
    name: 'headers-held',
    sends: '15 KB of headers that do not end, on as many connections as there may be',
    by: 'stranger',
    connections: tooManyConnections,
    allowed: anyAnswer,
    prepare: (stage) => ({
      kind: 'hold',
      bytes: stage.get('/health/live', longHeader).subarray(0, -2),
      reads: true,
    }),
  },
  {
    name: 'idle-connections',
    sends: 'nothing, on more connections than there may be',
    by: 'stranger',
    connections: tooManyConnections,
    allowed: anyAnswer,
    prepare: () => ({ kind: 'hold', bytes: Buffer.alloc(0), reads: true }),
  },
  {
    name: 'kept-connections',
    sends: 'one request, and keeps its connection, on more connections than there may be',
    by: 'stranger',
    connections: tooManyConnections,
    allowed: anyAnswer,
    prepare: (stage) => ({ kind: 'hold', bytes: stage.get('/health/live'), reads: true }),
  },
  {
    name: 'short-connections',
    sends: 'connections that are closed at once',
    by: 'stranger',
    connections: 64,
    allowed: anyAnswer,
    prepare: (stage) => ({ kind: 'leave', requests: [stage.get('/tasks')], afterMs: 2 }),
  },
  {
    name: 'no-http',
    sends: 'what is no request: the beginning of TLS, wrong lines, two lengths, a wrong encoding',
    by: 'stranger',
    connections: 64,
    allowed: onlyRefused,
    prepare: (stage) => {
      const lengths = { 'content-length': '6', 'transfer-encoding': 'chunked' }
      return ask(
        Buffer.from('\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 'latin1'),
        Buffer.from('GET / HTTP/9.9\r\n\r\n'),
        Buffer.from('\0'.repeat(1_000)),
        stage.request('POST', path, { headers: lengths, contentLength: null }),
        stage.request('POST', path, { headers: { 'transfer-encoding': 'xchunked' } }),
      )
    },
  },
  {
    name: 'unknown-addresses',
    sends: 'addresses of 10 KB that there are not, and methods that addresses do not have',
    by: 'stranger',
    connections: 64,
    allowed: onlyRefused,
    prepare: (stage) =>
      ask(
        stage.get(`/${'x'.repeat(10_000)}`),
        stage.get(`/tasks/${'%41'.repeat(3_000)}`),
        stage.get(`/tasks?${'a=1&'.repeat(2_500)}`),
        stage.request('PATCH', '/tasks/sst2'),
      ),
  },
  {
    name: 'health',
    sends: 'requests for liveness and readiness',
    by: 'stranger',
    connections: 64,
    allowed: anyAnswer,
    prepare: (stage) => ask(stage.get('/health/live'), stage.get('/health/ready')),
  },
]
