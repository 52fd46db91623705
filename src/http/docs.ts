// The documentation of the API as web pages. They are public, because a browser has no API key to send and they show only
// what openapi/openapi.json says. The document is written once, because anybody can request it.

import swaggerUi from '@fastify/swagger-ui'
import type { FastifyInstance } from 'fastify'

const prefix = '/docs'

export async function docs(app: FastifyInstance): Promise<void> {
  app.addHook('onRoute', (route) => {
    route.config = { ...route.config, audience: 'public' }
  })
  const documents = new Map([
    [`${prefix}/json`, { type: 'application/json', write: once(() => JSON.stringify(app.swagger())) }],
    [`${prefix}/yaml`, { type: 'application/yaml', write: once(() => app.swagger({ yaml: true })) }],
  ])
  // Replaces the handlers of the plugin, which write the document for each request.
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
