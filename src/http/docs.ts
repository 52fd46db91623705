// The description of the API as pages, for everybody: a browser has no key to send, and they say nothing but what
// openapi/openapi.json says. Because strangers may ask for it at will, the document is written once.

import swaggerUi from '@fastify/swagger-ui'
import type { FastifyInstance } from 'fastify'

const prefix = '/docs'

export async function docs(app: FastifyInstance): Promise<void> {
  app.addHook('onRoute', (route) => {
    route.config = { ...route.config, audience: 'everybody' }
  })
  const documents = new Map([
    [`${prefix}/json`, { type: 'application/json', write: once(() => JSON.stringify(app.swagger())) }],
    [`${prefix}/yaml`, { type: 'application/yaml', write: once(() => app.swagger({ yaml: true })) }],
  ])
  // In place of the plugin's handlers, which write the document anew for each request.
  app.addHook('preHandler', async (request, reply) => {
    const document = documents.get(request.routeOptions.url ?? '')
    if (document) return reply.type(document.type).send(document.write())
  })
  await app.register(swaggerUi, {
    routePrefix: prefix,
    staticCSP: "default-src 'self'; img-src 'self' data:; base-uri 'none'; object-src 'none'; frame-ancestors 'none'",
  })
}

function once(write: () => string): () => Buffer {
  let written: Buffer | undefined
  return () => {
    written ??= Buffer.from(write())
    return written
  }
}
