// The root route: links to the documentation and the entry points.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'

const links = {
  name: 'propetl',
  documentation: '/docs',
  openapi: '/docs/json',
  tasks: '/tasks',
  health: '/health/ready',
}

export const rootRoute: FastifyPluginAsyncTypebox = async (app) => {
  app.get('/', { config: { audience: 'public' }, schema: { hide: true } }, async () => links)
}
