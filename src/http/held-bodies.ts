// Bodies of requests count as memory from before they are read until their request has been answered.

import type { FastifyInstance, FastifyRequest } from 'fastify'
import { bodyFactor } from '../costs/memory.js'
import type { Holding, Pool } from '../costs/pool.js'
import { afterAnswer } from './after-answer.js'
import { hasBody, type OnBytes } from './bodies.js'
import { readMediaType } from './media-types.js'

declare module 'fastify' {
  interface FastifyRequest {
    /** Null for a request without a body, or without a caller. */
    heldBody: Holding | null
  }
}

/**
 * Takes the announced length of a body from the pool before any of it is read, and otherwise what arrives. To be called
 * behind what identifies callers.
 * @returns to be told of bytes that arrive
 */
export function holdBodies(app: FastifyInstance, bodies: Pool): OnBytes {
  app.decorateRequest('heldBody', null)
  app.addHook('onRequest', async (request, reply) => {
    const { caller, headers } = request
    if (caller === null || !hasBody(request)) return
    const held = bodies.take(caller.owner, factorOf(request) * Number(headers['content-length'] ?? 0))
    request.heldBody = held
    afterAnswer(reply, held.release)
  })
  return (request, bytes) => {
    if (request.headers['content-length'] === undefined) request.heldBody?.add(factorOf(request) * bytes)
  }
}

const factorOf = ({ headers }: FastifyRequest): number =>
  readMediaType(headers['content-type']).type === 'application/json' ? bodyFactor.json : bodyFactor.file
