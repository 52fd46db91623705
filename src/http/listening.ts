// Starts to listen on the address of the settings.

import type { FastifyInstance } from 'fastify'
import type { Config } from '../config.js'
import { Problem } from '../problem.js'
import { flagOf } from '../settings.js'

/**
 * Most connections that wait to be accepted; the kernel may allow fewer (net.core.somaxconn). If there are more, the kernel
 * ignores them, and their clients try again only after a second.
 */
const backlog = 4_096

export const listeningLine = (address: string): string => `listening on ${address}; loading the model`

/**
 * @param line of the log, by the address
 * @returns the address, as http://host:port
 * @throws Problem `invalid_setting` if the address cannot be used
 */
export async function listen(
  app: FastifyInstance,
  { host, port, tlsCert }: Pick<Config, 'host' | 'port' | 'tlsCert'>,
  line: (address: string) => string,
): Promise<string> {
  // Fastify uses our listener, so it does not know whether it is HTTPS.
  const schemed = (address: string) => (tlsCert === undefined ? address : address.replace(/^http:/, 'https:'))
  const address = await app
    .listen({ host, port, backlog, listenTextResolver: (address) => line(schemed(address)) })
    .catch((error: NodeJS.ErrnoException) => {
      const remedy =
        error.code === 'EADDRINUSE' ? `. Another process uses the port: stop it, or set another ${flagOf('port')}` : ''
      throw new Problem('invalid_setting', `cannot listen on ${host}:${port}: ${error.message}${remedy}`)
    })
  return schemed(address)
}
