// Two ends of a connection over a Unix socket, as a worker and the process of the engines have them.

import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { temporaryDirectory } from '../material.js'

export async function connectedSockets(t: TestContext): Promise<readonly [Socket, Socket]> {
  const path = join(await temporaryDirectory(), 'socket')
  const server = createServer().listen(path)
  await once(server, 'listening')
  const accepted = once(server, 'connection')
  const client = connect(path)
  const [accepting] = (await accepted) as [Socket]
  server.close()
  t.after(() => {
    client.destroy()
    accepting.destroy()
  })
  return [client, accepting]
}
