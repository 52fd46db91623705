// Headers of every response: the request id, and those that keep browsers from using a response for anything else. The
// pages of /docs have their own content security policy.

import type { FastifyInstance } from 'fastify'

/** Those that are equal for all responses. Each response also has `x-request-id`. */
export type ResponseHeaders = Readonly<Record<string, string>>

/** @param secure whether the server itself speaks HTTPS: then browsers use only HTTPS for a year */
export const responseHeaders = (secure: boolean): ResponseHeaders => ({
  'x-content-type-options': 'nosniff',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  ...(secure && { 'strict-transport-security': 'max-age=31536000' }),
})

/** Call it before any hook that can send a response. */
export function addResponseHeaders(app: FastifyInstance, headers: ResponseHeaders): void {
  app.addHook('onRequest', async (request, reply) => void reply.headers(headers).header('x-request-id', request.id))
}
