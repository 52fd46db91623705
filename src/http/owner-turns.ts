// Fair queueing of requests at the event loop, before their bodies are read: tenants take turns.

import type { FastifyInstance } from 'fastify'
import type { LoopTurns } from '../costs/loop-turns.js'
import { Problem } from '../problem.js'

/** Call it after the authentication hook, and before bodies are read. */
export function waitForTurns(app: FastifyInstance, turns: LoopTurns): void {
  app.addHook('onRequest', async ({ caller, raw }) => {
    if (caller === null) return
    await turns.next(caller.owner)
    if (raw.destroyed)
      throw new Problem('client_closed_request', 'the client closed the connection before its turn came')
  })
  app.addHook('onResponse', async ({ caller }, { statusCode }) => {
    if (caller !== null && statusCode >= 400) turns.rejected(caller.owner)
  })
}
