// A TCP proxy in front of a server of a test. It simulates the network between client and server: it can be slow,
// freeze, drop what it carries, or cut its connections, and change while connections are open.

import { EventEmitter, once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'

/** Bytes per second in each direction, over all connections. With 0 the bytes wait. */
export interface LinkRate {
  readonly toTarget?: number
  readonly toClient?: number
}

type Direction = keyof LinkRate

interface Connection {
  readonly client: Socket
  readonly target: Socket
  /** Its bytes are dropped forever. */
  isLost: boolean
}

/** The transfer time of a part that is sent at once, in seconds. */
const partSeconds = 0.02

export class TcpProxy {
  /** All bytes are dropped in both directions, and the ends of connections are not forwarded. */
  blackHole = false
  /** New connections are closed at once. */
  refuse = false
  readonly #connections = new Set<Connection>()
  readonly #changes = new EventEmitter().setMaxListeners(0)
  #rate: Readonly<Record<Direction, number>> = unlimited
  /** When the link has sent all bytes that were given to it, on the clock of `performance`. */
  readonly #freeAt: Record<Direction, number> = { toTarget: 0, toClient: 0 }
  #bytesUntilLoss = Number.POSITIVE_INFINITY

  private constructor(
    readonly server: Server,
    readonly port: number,
  ) {}

  /** @param target the port of the server on this machine */
  static async start(target: number): Promise<TcpProxy> {
    const server = createServer({ allowHalfOpen: true })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    // A test that fails before it closes the proxy must not keep the process alive.
    server.unref()
    const proxy = new TcpProxy(server, (server.address() as { port: number }).port)
    server.on('connection', (client) => {
      if (proxy.refuse) client.resetAndDestroy()
      else
        proxy.#open({
          client,
          target: connect({ port: target, host: '127.0.0.1', allowHalfOpen: true }),
          isLost: false,
        })
    })
    return proxy
  }

  /** Limits the link from now on. A direction that is not named is unlimited. */
  limit(rate: LinkRate): void {
    this.#rate = { ...unlimited, ...rate }
    const now = performance.now()
    this.#freeAt.toTarget = now
    this.#freeAt.toClient = now
    this.#changes.emit('change')
  }

  /** All bytes wait until `limit` is called. */
  freeze(): void {
    this.limit({ toTarget: 0, toClient: 0 })
  }

  /**
   * After so many more bytes of clients, the connection that sends them is lost, as if the client's machine lost power:
   * the target keeps a silent open connection.
   */
  loseAfter(bytes: number): void {
    this.#bytesUntilLoss = bytes
  }

  /** Resets all connections. */
  cut(): void {
    for (const { client, target } of this.#connections) {
      reset(client)
      reset(target)
    }
    this.#connections.clear()
    this.#changes.emit('change')
  }

  close(): void {
    this.cut()
    this.server.close()
  }

  #open(connection: Connection): void {
    const { client, target } = connection
    this.#connections.add(connection)
    for (const socket of [client, target]) {
      socket.setNoDelay(true).unref()
      // The reader or writer of the socket gets the error.
      socket.on('error', () => {})
      socket.on('close', () => {
        if (client.destroyed && target.destroyed) this.#connections.delete(connection)
      })
    }
    void this.#carry(connection, 'toTarget', client, target)
    void this.#carry(connection, 'toClient', target, client)
  }

  async #carry(connection: Connection, direction: Direction, from: Socket, to: Socket): Promise<void> {
    const isSwallowed = () => this.blackHole || connection.isLost
    try {
      // The other direction continues when this one ends.
      const pieces: AsyncIterable<Buffer> = from.iterator({ destroyOnReturn: false })
      for await (const piece of pieces) if (!isSwallowed()) await this.#send(connection, direction, piece, to)
      if (!isSwallowed()) await this.#moved(direction, to)
      if (!isSwallowed()) to.end()
    } catch {
      if (!isSwallowed()) reset(to)
    }
  }

  async #send(connection: Connection, direction: Direction, piece: Buffer, to: Socket): Promise<void> {
    for (let sent = 0; sent < piece.length; ) {
      await this.#moved(direction, to)
      const rate = this.#rate[direction]
      const part = piece.subarray(sent, sent + this.#beforeLoss(direction, Math.max(1, rate * partSeconds)))
      sent += part.length
      if (rate !== Number.POSITIVE_INFINITY) {
        const now = performance.now()
        this.#freeAt[direction] = Math.max(now, this.#freeAt[direction]) + (part.length / rate) * 1000
        await delay(this.#freeAt[direction] - now)
      }
      if (part.length > 0) await written(to, part)
      if (direction === 'toTarget' && this.#isLossDue(part.length)) {
        connection.isLost = true
        return
      }
    }
  }

  /** Waits while the link is frozen. */
  async #moved(direction: Direction, to: Socket): Promise<void> {
    while (this.#rate[direction] === 0 && !to.destroyed) await once(this.#changes, 'change')
  }

  #beforeLoss(direction: Direction, bytes: number): number {
    return direction === 'toTarget' ? Math.min(bytes, this.#bytesUntilLoss) : bytes
  }

  #isLossDue(sent: number): boolean {
    this.#bytesUntilLoss -= sent
    if (this.#bytesUntilLoss > 0) return false
    this.#bytesUntilLoss = Number.POSITIVE_INFINITY
    return true
  }
}

const unlimited: Readonly<Record<Direction, number>> = {
  toTarget: Number.POSITIVE_INFINITY,
  toClient: Number.POSITIVE_INFINITY,
}

/** libuv cannot reset a socket that is shutting down, and Node.js then never closes its handle. */
function reset(socket: Socket): void {
  if (socket.writableEnded) socket.destroy()
  else socket.resetAndDestroy()
}

const written = (to: Socket, part: Buffer) =>
  new Promise<void>((resolve, reject) => {
    to.write(part, (error) => (error ? reject(error) : resolve()))
  })
