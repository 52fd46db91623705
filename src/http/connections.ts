// The open connections, and the requests of each. A connection has one request at work at a time: requests that a client
// pipelines behind it wait for its answer to be sent. Node alone would start all of them, and keep all their answers in
// memory until the client reads them. It would also let a client keep a connection for ever by not reading.

import { IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { pausedMsWithin } from '../running-time.js'

interface Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
}

interface Connection {
  /** The request at work, until its answer is sent or its client has left. */
  current: Exchange | undefined
  /** Requests behind it, in the order in which they came. */
  readonly waiting: Exchange[]
  /** Of their lines and headers. */
  waitingChars: number
  /** What came last cannot be answered by a route; the connection ends with it. */
  failure: Error | undefined
}

/** Writes an answer to a socket that no request can be answered on any more, and ends it. */
export type WriteProblem = (socket: Socket, error: NodeJS.ErrnoException) => void

/** Requests that may wait on one connection. Browsers and most client libraries do not pipeline at all. */
export const maxPipelined = 16
/** Characters of lines and headers of these together, unless it is one alone. */
const maxPipelinedChars = 16 * 1024

/** The code of the error for a client that pipelines more. */
export const tooManyPipelined = 'PROPETL_TOO_MANY_PIPELINED'

/** Sockets that are closed for what was pipelined on them. */
const rejectedSockets = new WeakSet<Socket>()

/**
 * Node parses all that it has read of a socket in one turn of the event loop, thousands of requests or of pieces of a body,
 * whatever becomes of the first. It stops parsing where it takes a request for an upgrade, and so it does on a socket that
 * is given up. Pieces of a body that is given up are thrown away, which costs a third of keeping them.
 */
export class Request extends IncomingMessage {
  private asksForUpgrade: boolean | null = null
  /** Nobody reads what is left of the body. */
  bodyIsDiscarded = false

  override push(piece: Buffer | string | null, encoding?: BufferEncoding): boolean {
    return this.bodyIsDiscarded && piece !== null ? true : super.push(piece, encoding)
  }

  get upgrade(): boolean | null {
    return rejectedSockets.has(this.socket) || this.asksForUpgrade
  }

  set upgrade(asks: boolean | null) {
    this.asksForUpgrade = asks
  }
}

/** How often a server that stops looks again, in milliseconds. */
const sweepEveryMs = 100
/** How long a server that stops goes on taking connections that are made already, in milliseconds. */
const takeWithinMs = 1_000

export class Connections {
  /** By the client's address: a secure connection replaces the one that it is made on. */
  readonly #open = new Map<string, Socket>()
  readonly #connections = new WeakMap<Socket, Connection>()
  readonly #writeProblem: WriteProblem
  #opened = 0

  constructor(writeProblem: WriteProblem) {
    this.#writeProblem = writeProblem
  }

  /**
   * Hands a server's requests to a listener, one at a time for each connection.
   * @param sendTimeoutMs how long a client may leave its answer unread
   */
  serve(server: Server, listener: RequestListener, sendTimeoutMs: number): void {
    server.on('connection', (socket) => this.#add(socket))
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
      // Between requests Node limits how long a connection may be idle.
      socket.setTimeout(sendTimeoutMs)
      // Without bytes to be sent it is the client that waits.
      response.on('timeout', () => {
        if (socket.writableLength > 0) endUnlessPaused(socket, sendTimeoutMs)
      })
      // Node emits it behind the last byte of the answer, and if the client leaves before.
      response.once('close', () => {
        connection.current = undefined
        if (!socket.writable) return
        const next = connection.waiting.shift()
        if (next) {
          connection.waitingChars -= charsOf(next.request)
          begin(connection, next)
        } else if (connection.failure !== undefined) {
          socket.resume()
          this.#writeProblem(socket, connection.failure)
        }
      })
      listener(request, response)
    }
    // Between requests.
    server.on('timeout', (socket) => {
      if (this.#connectionOf(socket).current === undefined) endUnlessPaused(socket, server.keepAliveTimeout)
    })
    server.on('request', take)
    // A route asks for the body once nothing else is wrong with the request.
    server.on('checkContinue', take)
    server.on('checkExpectation', take)
    // Node lets go of the socket, and of its errors.
    server.on('connect', ({ socket }: IncomingMessage) => {
      socket.on('error', () => {})
      if (this.#connectionOf(socket).current) socket.destroy()
      else this.#writeProblem(socket, new Error('CONNECT is for proxies'))
    })
  }

  /** What comes on a connection is no HTTP, or takes too long. Requests before it are answered first. */
  failed(socket: Socket, error: NodeJS.ErrnoException): void {
    if (error.code === 'ECONNRESET' || !socket.writable) return
    const connection = this.#connectionOf(socket)
    if (connection.failure !== undefined) return
    connection.failure = error
    // A request whose end is missing is not begun.
    if (connection.waiting.at(-1)?.request.complete === false) connection.waiting.pop()
    const { current } = connection
    // What follows is not read before there is room for the answer.
    if (current?.request.complete) socket.pause()
    else if (current?.response.headersSent) socket.destroy()
    else this.#writeProblem(socket, error)
  }

  /**
   * Reads what clients have sent so far. Then ends what is between requests, or has not sent the headers of one; and after
   * a grace, what has not sent all of its request, or does not take its answer. Requests that are being answered go on.
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

  /** Node accepts one connection in each turn of the event loop, and reads from it in the next. */
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
    const address = `${socket.remoteAddress} ${socket.remotePort}`
    this.#open.set(address, socket)
    socket.once('close', () => {
      if (this.#open.get(address) === socket) this.#open.delete(address)
    })
  }

  /** The socket is read on, for that is how a client that leaves is noticed. */
  #wait(connection: Connection, exchange: Exchange): void {
    const { socket } = exchange.request
    connection.waiting.push(exchange)
    connection.waitingChars += charsOf(exchange.request)
    const { waiting, waitingChars } = connection
    if (waiting.length === 1 || (waiting.length <= maxPipelined && waitingChars <= maxPipelinedChars)) return
    // Those that were read anyway take memory: they are given up, and so is the one at work.
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
    const connection: Connection = { current: undefined, waiting: [], waitingChars: 0, failure: undefined }
    this.#connections.set(socket, connection)
    return connection
  }

  #exchangesOf(socket: Socket): readonly Exchange[] {
    const { current, waiting } = this.#connectionOf(socket)
    return current ? [current, ...waiting] : waiting
  }
}

/** A client that was silent for so long is not waited for, unless it was this process that stood still. */
function endUnlessPaused(socket: Socket, timeoutMs: number): void {
  if (pausedMsWithin(timeoutMs) > 0) socket.setTimeout(timeoutMs)
  else socket.destroy()
}

const charsOf = ({ url = '', rawHeaders }: IncomingMessage): number =>
  rawHeaders.reduce((sum, text) => sum + text.length, url.length)

/** It has not sent its whole request, or not taken its whole answer. */
const waitsForClient = ({ request, response }: Exchange): boolean => !request.complete || response.writableEnded
