// The sockets' side of the server: HTTP or HTTPS, how many connections there may be, and how long each may take. Who
// sends slowly is answered 408 and cut off.

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

/** Node looks for requests that take too long at intervals; they last this much longer at most, in milliseconds. */
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
    connectionsCheckingInterval: Math.min(checkEveryMs, limits.headersTimeoutMs),
    // The application refuses a request without one, in its own words.
    requireHostHeader: false,
  }
  const server = certificate ? secure(options, certificate, limits.headersTimeoutMs) : createServer(options)
  server.maxConnections = limits.maxConnections
  // Node reads them whenever it looks for requests that take too long. After a pause of the process nothing has been read yet
  // of what clients sent meanwhile.
  const extended = (ms: number) => ({ get: () => ms + pausedMsWithin(ms) })
  Object.defineProperties(server, {
    headersTimeout: extended(limits.headersTimeoutMs),
    requestTimeout: extended(limits.receiveTimeoutMs),
  })
  connections.serve(server, handler, limits.sendTimeoutMs)
  return server
}

/** Node's HTTPS server has all that its HTTP server has, though their types are strangers. */
function secure(options: ServerOptions<typeof Request>, certificate: Certificate, handshakeTimeout: number): Server {
  const server = createSecureServer({ ...options, ...certificate.pair, handshakeTimeout })
  certificate.use(server)
  return server as unknown as Server
}
