// The root route: the console for browsers, and links to the documentation and the entry points for programs.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Problem } from '../../problem.js'
import { consolePolicy, readConsole, sendFile } from '../console.js'
import { weightOf } from '../negotiation.js'

const links = {
  name: 'propetl',
  documentation: '/docs',
  openapi: '/docs/json',
  tasks: '/tasks',
  health: '/health/ready',
}

/** Public, because a browser has no API key to send when it loads a page, and the files contain nothing secret. */
const options = { config: { audience: 'public' }, schema: { hide: true } } as const

export const rootRoute: FastifyPluginAsyncTypebox = async (app) => {
  const files = readConsole()

  app.get('/', options, async (request, reply) => {
    const { accept } = request.headers
    const wantsPage = weightOf(accept, 'text/html') > weightOf(accept, 'application/json')
    if (!files || !wantsPage) return reply.header('vary', 'Accept').send(links)
    reply.header('content-security-policy', consolePolicy).header('cache-control', 'no-cache')
    return sendFile(request, reply, files.page)
  })

  app.get<{ Params: { name: string } }>('/console/:name', options, async (request, reply) => {
    const file = files?.assets.get(request.params.name)
    if (file === undefined) throw new Problem('not_found', 'the console has no such file; load its page again')
    reply.header('cache-control', 'public, max-age=31536000, immutable')
    return sendFile(request, reply, file)
  })
}
