// Bodies of requests count as memory from before they are read until their request has been answered.

import type { FastifyInstance, FastifyRequest } from 'fastify'
import { bodyFactor } from '../costs/memory.js'
import type { Holding, Pool } from '../costs/pool.js'
import { afterResponse } from './after-response.js'
import { hasBody, type OnBytes } from './bodies.js'
import { readMediaType } from './media-types.js'

declare module 'fastify' {
  interface FastifyRequest {
    /** Null for a request without a body, or without a caller. */
    bodyMemory: Holding | null
  }
}

/**
 * Takes the announced length of a body from the pool before any of it is read, and otherwise what arrives. To be called
 * behind what identifies callers.
 * @returns to be told of bytes that arrive
 */
export function reserveBodyMemory(app: FastifyInstance, bodies: Pool): OnBytes {
  app.decorateRequest('bodyMemory', null)
  app.addHook('onRequest', async (request, reply) => {
    const { caller, headers } = request
    if (caller === null || !hasBody(request)) return
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
