// Methods that an address does not have: 405, with those that it has (RFC 9110, section 15.5.6).

import type { FastifyInstance, HTTPMethods } from 'fastify'
import { Problem } from '../problem.js'

/**
 * Notes the methods of all routes that are added from now on.
 * @returns adds routes that refuse the others; to be called behind the last of them
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
        config: { audience: 'everybody' },
        schema: { hide: true },
        onRequest: async ({ method }, reply) => {
          reply.header('allow', allowed)
          throw new Problem('method_not_allowed', `${method} is not for this address; expected ${allowed}`)
        },
        handler: () => {},
      })
    }
  }
}
