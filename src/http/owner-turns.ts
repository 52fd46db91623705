// Requests of tenants take turns at the event loop, before their bodies are read.

import type { FastifyInstance } from 'fastify'
import type { LoopTurns } from '../costs/loop-turns.js'
import { Problem } from '../problem.js'

/** To be called behind what identifies callers, and before what reads bodies. */
export function waitForTurns(app: FastifyInstance, turns: LoopTurns): void {
  app.addHook('onRequest', async ({ caller, raw }) => {
    if (caller === null) return
    await turns.next(caller.owner)
    if (raw.destroyed) throw new Problem('client_closed_request', 'the client left before its request was begun')
  })
  app.addHook('onResponse', async ({ caller }, { statusCode }) => {
    if (caller !== null && statusCode >= 400) turns.rejected(caller.owner)
  })
}
