// Headers that tell browsers to make nothing of an answer but what it is. The pages of /docs have a policy of their own.

import type { FastifyInstance } from 'fastify'

const headers = {
  'x-content-type-options': 'nosniff',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
}

/** @param secure whether the server speaks HTTPS itself: browsers then keep to it for a year */
export function addSecurityHeaders(app: FastifyInstance, secure: boolean): void {
  const all = { ...headers, ...(secure && { 'strict-transport-security': 'max-age=31536000' }) }
  app.addHook('onRequest', async (_request, reply) => void reply.headers(all))
}
