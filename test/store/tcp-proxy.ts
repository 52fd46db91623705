// A TCP proxy that a test puts before a server, to cut its connections or to swallow what they carry.

import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'

export class TcpProxy {
  /** What passes is swallowed in both directions, and nobody is told. */
  blackHole = false
  readonly #sockets = new Set<Socket>()

  private constructor(
    readonly server: Server,
    readonly port: number,
  ) {}

  static async start(target: number): Promise<TcpProxy> {
    const server = createServer()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const proxy = new TcpProxy(server, (server.address() as { port: number }).port)
    server.on('connection', (client) => {
      const upstream = connect(target, '127.0.0.1')
      proxy.#join(client, upstream)
      proxy.#join(upstream, client)
    })
    return proxy
  }

  cut(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  close(): void {
    this.cut()
    this.server.close()
  }

  #join(from: Socket, to: Socket): void {
    this.#sockets.add(from)
    from.on('data', (piece) => {
      if (!this.blackHole) to.write(piece)
    })
    from.on('error', () => {})
    from.on('close', () => {
      this.#sockets.delete(from)
      if (!this.blackHole) to.destroy()
    })
  }
}
