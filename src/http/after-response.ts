// What is done once an answer has been sent, or its client has left: what the request held is given back.

import { finished } from 'node:stream'
import type { FastifyReply } from 'fastify'

interface Pending {
  readonly releases: (() => void)[]
  over: boolean
}

/** One listener for each answer, however much its request holds. */
const pending = new WeakMap<FastifyReply['raw'], Pending>()

/** Calls back at once if the answer is over already. */
export function afterResponse({ raw }: FastifyReply, release: () => void): void {
  const known = pending.get(raw) ?? listen(raw)
  if (known.over) release()
  else known.releases.push(release)
}

function listen(raw: FastifyReply['raw']): Pending {
  const made: Pending = { releases: [], over: false }
  pending.set(raw, made)
  finished(raw, () => {
    made.over = true
    for (const release of made.releases) release()
  })
  return made
}
