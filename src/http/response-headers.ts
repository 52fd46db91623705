// Headers of every answer: the request's id, and those that tell browsers to treat an answer as nothing but what it is.
// The pages of /docs have a content security policy of their own.

import type { FastifyInstance } from 'fastify'

/** Those that are the same for all; an answer has `x-request-id` beside them. */
export type ResponseHeaders = Readonly<Record<string, string>>

/** @param secure whether the server itself speaks HTTPS: browsers then use nothing else for a year */
export const responseHeaders = (secure: boolean): ResponseHeaders => ({
  'x-content-type-options': 'nosniff',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  ...(secure && { 'strict-transport-security': 'max-age=31536000' }),
})

/** To be called before any hook that may answer. */
export function addResponseHeaders(app: FastifyInstance, headers: ResponseHeaders): void {
  app.addHook('onRequest', async (request, reply) => void reply.headers(headers).header('x-request-id', request.id))
}
