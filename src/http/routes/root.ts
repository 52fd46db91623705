// What people find at the bare address of a server: where to go from there.

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
