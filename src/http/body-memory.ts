// Memory of request bodies: reserved before they are read, and released once the response is sent.

import type { FastifyInstance, FastifyRequest } from 'fastify'
import { bodyFactor } from '../costs/memory.js'
import type { Holding, Pool } from '../costs/pool.js'
import { afterResponse } from './after-response.js'
import { hasBody, type OnBytes } from './bodies.js'
import { readMediaType } from './media-types.js'

declare module 'fastify' {
  interface FastifyRequest {
    /** Null for a request without a body or without a caller. */
    bodyMemory: Holding | null
  }
  interface FastifyContextConfig {
    /** The body is not kept in memory. */
    isStreamed?: boolean
  }
}

/**
 * Reserves the Content-Length of a body before it is read. Without Content-Length it reserves bytes as they arrive. Call it
 * after the authentication hook.
 * @returns the function to call with bytes that arrive
 */
export function reserveBodyMemory(app: FastifyInstance, bodies: Pool): OnBytes {
  app.decorateRequest('bodyMemory', null)
  app.addHook('onRequest', async (request, reply) => {
    const { caller, headers } = request
    if (caller === null || !hasBody(request) || request.routeOptions.config.isStreamed) return
    const held = bodies.take(caller.owner, factorOf(request) * Number(headers['content-length'] ?? 0))
    request.bodyMemory = held
    afterResponse(reply, held.release)
  })
  return (request, bytes) => {
    if (request.headers['content-length'] === undefined) request.bodyMemory?.add(factorOf(request) * bytes)
  }
}

const factorOf = ({ headers }: FastifyRequest): number =>
  readMediaType(headers['content-type']).type === 'application/json' ? bodyFactor.json : bodyFactor.file
