// What is done once an answer has been sent, or its client has left: what the request held is given back.

import { finished } from 'node:stream'
import type { FastifyReply } from 'fastify'

/** One listener for each answer, however much its request holds. */
const releases = new WeakMap<FastifyReply['raw'], (() => void)[]>()

export function afterAnswer({ raw }: FastifyReply, release: () => void): void {
  const known = releases.get(raw)
  if (known) {
    known.push(release)
    return
  }
  const all = [release]
  releases.set(raw, all)
  finished(raw, () => {
    for (const each of all) each()
  })
}
