// The HTTP or HTTPS listener, with its limits: the number of connections and the timeouts. A client that sends too slowly
// gets a 408, and its connection is closed.

import { createServer, type RequestListener, type Server, type ServerOptions } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import type { Config } from '../config.js'
import { pausedMsWithin } from '../running-time.js'
import type { Certificate } from './certificate.js'
import { type Connections, Request } from './connections.js'

export type ListenerLimits = Pick<
  Config,
  'maxConnections' | 'maxHeaderBytes' | 'headersTimeoutMs' | 'receiveTimeoutMs' | 'sendTimeoutMs' | 'keepAliveTimeoutMs'
>

/**
 * The limits of the listener for HTTP workers. The workers enforce the limits on clients; a client that is slow within them must
 * not end the connection between the processes.
 */
export const limitsForWorkers = (limits: ListenerLimits): ListenerLimits => ({
  maxHeaderBytes: limits.maxHeaderBytes,
  maxConnections: Number.POSITIVE_INFINITY,
  headersTimeoutMs: 0,
  receiveTimeoutMs: 0,
  sendTimeoutMs: 0,
  keepAliveTimeoutMs: 0,
})

/** How often Node checks the timeouts of requests, in milliseconds: a request can last this much longer. */
const checkEveryMs = 1_000

export function createListener(
  limits: ListenerLimits,
  certificate: Certificate | undefined,
  connections: Connections,
  handler: RequestListener,
): Server {
  const options: ServerOptions<typeof Request> = {
    IncomingMessage: Request,
    maxHeaderSize: limits.maxHeaderBytes,
    headersTimeout: limits.headersTimeoutMs,
    requestTimeout: limits.receiveTimeoutMs,
    keepAliveTimeout: limits.keepAliveTimeoutMs,
    connectionsCheckingInterval: Math.min(checkEveryMs, limits.headersTimeoutMs || checkEveryMs),
    // checkHeaders rejects a request without one, with a problem response.
    requireHostHeader: false,
  }
  const server = certificate ? secure(options, certificate, limits.headersTimeoutMs) : createServer(options)
  // Node reads these properties at every check. After a pause of the process they are longer, because what clients sent
  // meanwhile has not been read yet.
  const extended = (ms: number) => ({ get: () => ms + pausedMsWithin(ms) })
  Object.defineProperties(server, {
    headersTimeout: extended(limits.headersTimeoutMs),
    requestTimeout: extended(limits.receiveTimeoutMs),
  })
  connections.serve(server, handler, limits)
  return server
}

/** The cast is needed because Node's types of the two servers are unrelated, although they have the same members. */
function secure(options: ServerOptions<typeof Request>, certificate: Certificate, handshakeTimeout: number): Server {
  const server = createSecureServer({ ...options, ...certificate.pair, handshakeTimeout })
  certificate.use(server)
  return server as unknown as Server
}
