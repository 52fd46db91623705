// Responds 405 to methods that a route does not support, with those that it does (RFC 9110, section 15.5.6).

import type { FastifyInstance, HTTPMethods } from 'fastify'
import { Problem } from '../problem.js'

/**
 * Collects the methods of all routes that are added from now on.
 * @returns a function that adds routes for all other methods; call it after the last route
 */
export function collectMethods(app: FastifyInstance): () => void {
  const methodsOf = new Map<string, Set<string>>()
  app.addHook('onRoute', ({ url, method }) => {
    const methods = methodsOf.get(url) ?? new Set()
    for (const each of [method].flat()) methods.add(each)
    methodsOf.set(url, methods)
  })
  return () => {
    for (const [url, methods] of [...methodsOf]) {
      const allowed = [...methods].toSorted().join(', ')
      app.route({
        method: app.supportedMethods.filter((method) => !methods.has(method)) as HTTPMethods[],
        url,
        config: { audience: 'public' },
        schema: { hide: true },
        onRequest: async ({ method }, reply) => {
          reply.header('allow', allowed)
          throw new Problem('method_not_allowed', `this route does not support ${method}; use ${allowed}`)
        },
        handler: () => {},
      })
    }
  }
}
