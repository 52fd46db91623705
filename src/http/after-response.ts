// Releases what a request holds, once its response is sent or its client has disconnected.

import { finished } from 'node:stream'
import type { FastifyReply } from 'fastify'

interface Pending {
  readonly releases: (() => void)[]
  finished: boolean
}

/** One listener per response, even if its request holds several things. */
const pending = new WeakMap<FastifyReply['raw'], Pending>()

/** Calls back at once if the response is finished already. */
export function afterResponse({ raw }: FastifyReply, release: () => void): void {
  const known = pending.get(raw) ?? listen(raw)
  if (known.finished) release()
  else known.releases.push(release)
}

function listen(raw: FastifyReply['raw']): Pending {
  const made: Pending = { releases: [], finished: false }
  pending.set(raw, made)
  finished(raw, () => {
    made.finished = true
    for (const release of made.releases) release()
  })
  return made
}

/** A signal that aborts when the client disconnects before its response is sent. */
export function disconnectSignal(reply: FastifyReply): AbortSignal {
  const controller = new AbortController()
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) controller.abort()
  })
  return controller.signal
}
