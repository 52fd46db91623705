// The open connections and their requests. Each connection runs one request at a time: pipelined requests wait until the
// response before them is sent. Node alone would start all of them and keep their responses in memory until the client
// reads them. It would also let a client keep a connection open forever by not reading.

import { IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { pausedMsWithin } from '../running-time.js'
import { LaterTurns } from './later-turns.js'
import { SlowReads } from './slow-reads.js'

interface Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
}

interface Connection {
  /** The running request, until its response is sent or its client has disconnected. */
  current: Exchange | undefined
  /** Pipelined requests, in the order of their arrival. */
  readonly waiting: Exchange[]
  /** Characters of their request lines and headers. */
  waitingChars: number
  /** Why no route can serve the last request; the connection closes after the response to it. */
  failure: Error | undefined
  /** Whether its first request has started. */
  isUsed: boolean
}

/** Writes a problem response to a socket that cannot serve more requests, and closes it. */
export type WriteProblem = (socket: Socket, error: NodeJS.ErrnoException) => void

/** Most pipelined requests of one connection. Browsers and most client libraries do not pipeline. */
export const maxPipelined = 16
/** Most characters of their request lines and headers together. A single one may have more. */
const maxPipelinedChars = 16 * 1024

/** Error code for a client that pipelines more. */
export const tooManyPipelined = 'PROPETL_TOO_MANY_PIPELINED'

/** Sockets that are closed because of too many pipelined requests. */
const rejectedSockets = new WeakSet<Socket>()

/** Even a tiny piece of a body costs a pass through the parser. Usual clients send few large pieces. */
const areTiny = (pieces: number, bytes: number): boolean => pieces > 1_000 && bytes < 16 * pieces

const slowReads = new SlowReads()

/**
 * Node parses everything that it has read from a socket in one turn of the event loop: thousands of requests or pieces of a
 * body, even if the first one was rejected. It stops parsing at an upgrade request, so requests of rejected sockets claim to
 * be one. Tiny pieces are discarded, which costs a third of keeping them, and their socket is read slowly.
 */
export class Request extends IncomingMessage {
  private asksForUpgrade: boolean | null = null
  #pieces = 0
  #bytes = 0
  #hasTinyPieces = false
  #isReading = true

  /** Whether the body arrived in tiny pieces. From then on all pieces are discarded. */
  get hasTinyPieces(): boolean {
    return this.#hasTinyPieces
  }

  override push(piece: Buffer | string | null, encoding?: BufferEncoding): boolean {
    if (piece === null) return super.push(piece)
    const wasTiny = this.#hasTinyPieces
    this.#pieces++
    this.#bytes += piece.length
    // A body with discarded pieces stays rejected, even if larger pieces follow.
    this.#hasTinyPieces ||= areTiny(this.#pieces, this.#bytes)
    if (!this.#hasTinyPieces) return super.push(piece, encoding)
    this.#readLater()
    // The first tiny piece is passed on, so that the reader of the body sees it and rejects the request.
    return wasTiny || super.push(piece, encoding)
  }

  /** Whether the socket is read. */
  get isReading(): boolean {
    return this.#isReading
  }

  /** Pausing only the socket has no effect: the reader of the body would resume it in the same turn. */
  pauseReading(): void {
    this.#isReading = false
    this.socket.pause()
  }

  resumeReading(): void {
    this.#isReading = true
    this.socket.resume()
  }

  /** Asks the socket for more. */
  override _read(bytes: number): void {
    if (this.#isReading) super._read(bytes)
  }

  #readLater(): void {
    if (!this.#isReading) return
    this.pauseReading()
    slowReads.wait(this.socket, () => this.resumeReading())
  }

  get upgrade(): boolean | null {
    return rejectedSockets.has(this.socket) || this.asksForUpgrade
  }

  set upgrade(asks: boolean | null) {
    this.asksForUpgrade = asks
  }
}

/** How often a stopping server checks its connections, in milliseconds. */
const sweepEveryMs = 100
/** How long a stopping server still accepts connections that are already established, in milliseconds. */
const takeWithinMs = 1_000

/** Most connections that are examined to find an idle one. */
const maxExamined = 64

export interface ConnectionLimits {
  /** Most open connections. Beyond, the one that has been idle longest is closed for a new one. */
  readonly maxConnections: number
  /** How long a client may leave its response unread; 0: for ever. */
  readonly sendTimeoutMs: number
}

/** Where connections come from. Those of a Unix socket come from HTTP workers, and have no addresses. */
export type Origin = 'network' | 'workers'

export class Connections {
  /**
   * By the address of the client: a TLS socket replaces the socket below it. The least recently used comes first. Without
   * addresses, the key is the socket.
   */
  readonly #open = new Map<string | Socket, Socket>()
  readonly #connections = new WeakMap<Socket, Connection>()
  readonly #writeProblem: WriteProblem
  /** They wait, so that a client that has sent a request and disconnected at once is noticed first. */
  readonly #firstRequests = new LaterTurns()
  #opened = 0

  constructor(
    writeProblem: WriteProblem,
    readonly origin: Origin = 'network',
  ) {
    this.#writeProblem = writeProblem
  }

  /** Passes the requests of a server to a listener, one at a time per connection. */
  serve(server: Server, listener: RequestListener, { maxConnections, sendTimeoutMs }: ConnectionLimits): void {
    server.on('connection', (socket) => {
      this.#add(socket)
      if (this.#open.size > maxConnections) (this.#longestIdle() ?? socket).destroy()
    })
    server.on('secureConnection', (socket) => this.#add(socket))
    const take: RequestListener = (request, response) => {
      const connection = this.#connectionOf(request.socket)
      if (connection.failure !== undefined) return
      if (connection.current === undefined) begin(connection, { request, response })
      else this.#wait(connection, { request, response })
    }
    const begin = (connection: Connection, exchange: Exchange) => {
      const { request, response } = exchange
      const { socket } = request
      connection.current = exchange
      // Between requests Node's own timeout for idle connections applies.
      socket.setTimeout(sendTimeoutMs)
      // Without unsent bytes the client is the one that waits.
      response.on('timeout', () => {
        if (socket.writableLength > 0) endUnlessPaused(socket, sendTimeoutMs)
      })
      // Emitted after the last byte of the response, or when the client disconnects.
      response.once('close', () => {
        connection.current = undefined
        if (!socket.writable) return
        this.#moveToEnd(socket)
        const next = connection.waiting.shift()
        if (next) {
          connection.waitingChars -= charsOf(next.request)
          begin(connection, next)
        } else if (connection.failure !== undefined) {
          socket.resume()
          this.#writeProblem(socket, connection.failure)
        }
      })
      if (connection.isUsed) listener(request, response)
      else
        this.#firstRequests.add(() => {
          connection.isUsed = true
          // Otherwise the client has disconnected, or its body is not HTTP and the problem response is sent already.
          if (socket.writable) listener(request, response)
        })
    }
    // Node emits it for idle connections, between requests.
    server.on('timeout', (socket) => {
      if (this.#connectionOf(socket).current === undefined) endUnlessPaused(socket, server.keepAliveTimeout)
    })
    server.on('request', take)
    // addBodyHooks sends 100 Continue once the headers are accepted.
    server.on('checkContinue', take)
    server.on('checkExpectation', take)
    // The TLS socket is unusable then, but the client can read a response from the socket below it.
    server.on('tlsClientError', (error: NodeJS.ErrnoException, secure: Socket) => {
      const socket = this.#open.get(this.#keyOf(secure))
      if (error.code === 'ERR_SSL_HTTP_REQUEST' && socket) this.#writeProblem(socket, error)
    })
    // Node no longer handles this socket, nor its errors.
    server.on('connect', ({ socket }: IncomingMessage) => {
      socket.on('error', () => {})
      if (this.#connectionOf(socket).current) socket.destroy()
      else this.#writeProblem(socket, new Error('CONNECT is only for proxies'))
    })
  }

  /** Handles bytes that are not HTTP or arrive too late. The requests before them are served first. */
  failed(socket: Socket, error: NodeJS.ErrnoException): void {
    if (error.code === 'ECONNRESET' || !socket.writable) return
    const connection = this.#connectionOf(socket)
    if (connection.failure !== undefined) return
    connection.failure = error
    // An incomplete request is not started.
    if (connection.waiting.at(-1)?.request.complete === false) connection.waiting.pop()
    const { current } = connection
    // Nothing more is read until the problem response can be written.
    if (current?.request.complete) socket.pause()
    else if (current?.response.headersSent) socket.destroy()
    else this.#writeProblem(socket, error)
  }

  /**
   * Reads what clients have sent so far. Then it closes connections without a request, and after a grace period those that
   * have not sent a whole request or do not read their response. Running requests continue.
   */
  async stop(graceMs: number): Promise<void> {
    await this.#takeArrived()
    const until = performance.now() + graceMs
    const sweep = () => {
      const isOver = performance.now() < until ? () => false : waitsForClient
      for (const socket of this.#open.values()) if (this.#exchangesOf(socket).every(isOver)) socket.destroy()
    }
    sweep()
    setInterval(sweep, sweepEveryMs).unref()
  }

  /** Node accepts one connection per turn of the event loop, and reads from it in the next turn. */
  async #takeArrived(): Promise<void> {
    const until = performance.now() + takeWithinMs
    for (let quietTurns = 0; quietTurns < 2 && performance.now() < until; ) {
      const before = this.#opened
      await nextTurn()
      quietTurns = this.#opened === before ? quietTurns + 1 : 0
    }
  }

  #add(socket: Socket): void {
    this.#opened++
    // Only the socket of a client that has disconnected, while it waited to be accepted, has no address.
    if (this.origin === 'network' && socket.remoteAddress === undefined) {
      socket.destroy()
      return
    }
    const key = this.#keyOf(socket)
    this.#open.set(key, socket)
    socket.once('close', () => {
      if (this.#open.get(key) === socket) this.#open.delete(key)
    })
  }

  /** The connection that has waited longest for a whole request. Only the first connections are examined. */
  #longestIdle(): Socket | undefined {
    let examined = 0
    for (const socket of this.#open.values()) {
      if (this.#connectionOf(socket).current === undefined) return socket
      this.#moveToEnd(socket)
      if (++examined === maxExamined) return undefined
    }
    return undefined
  }

  #moveToEnd(socket: Socket): void {
    const key = this.#keyOf(socket)
    if (this.#open.delete(key)) this.#open.set(key, socket)
  }

  #keyOf(socket: Socket): string | Socket {
    return this.origin === 'workers' ? socket : `${socket.remoteAddress} ${socket.remotePort}`
  }

  /** Queues a pipelined request. The socket is still read, because that is how a disconnect is noticed. */
  #wait(connection: Connection, exchange: Exchange): void {
    const { socket } = exchange.request
    connection.waiting.push(exchange)
    connection.waitingChars += charsOf(exchange.request)
    const { waiting, waitingChars } = connection
    if (waiting.length === 1 || (waiting.length <= maxPipelined && waitingChars <= maxPipelinedChars)) return
    // They take memory already: reject them all, with the running one.
    rejectedSockets.add(socket)
    socket.on('error', () => {})
    connection.failure = Object.assign(new Error('too many pipelined requests'), { code: tooManyPipelined })
    waiting.length = 0
    if (connection.current?.response.headersSent) socket.destroy()
    else {
      this.#writeProblem(socket, connection.failure)
      socket.destroySoon()
    }
  }

  #connectionOf(socket: Socket): Connection {
    const known = this.#connections.get(socket)
    if (known) return known
    const connection: Connection = {
      current: undefined,
      waiting: [],
      waitingChars: 0,
      failure: undefined,
      // A worker opens a connection for each request, whose client it watches.
      isUsed: this.origin === 'workers',
    }
    this.#connections.set(socket, connection)
    return connection
  }

  #exchangesOf(socket: Socket): readonly Exchange[] {
    const { current, waiting } = this.#connectionOf(socket)
    return current ? [current, ...waiting] : waiting
  }
}

/** Closes the connection of a silent client, unless this process itself was paused. */
function endUnlessPaused(socket: Socket, timeoutMs: number): void {
  if (pausedMsWithin(timeoutMs) > 0) socket.setTimeout(timeoutMs)
  else socket.destroy()
}

const charsOf = ({ url = '', rawHeaders }: IncomingMessage): number =>
  rawHeaders.reduce((sum, text) => sum + text.length, url.length)

/** Whether the client has not sent its whole request, or not read its whole response. */
const waitsForClient = ({ request, response }: Exchange): boolean => !request.complete || response.writableEnded
