// The connections that are open, and what each waits for. Node alone would let a client keep its connection for ever by
// not taking its answer, not tell who pipelined requests that their client has left, and wait, when it stops, for
// clients that never send a request.

import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

interface Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
}

/** How often a server that stops looks again, in milliseconds. */
const sweepEveryMs = 100

export class Connections {
  /** By the client's address: a secure connection takes the place of the one that it is made on. */
  readonly #open = new Map<string, Socket>()
  readonly #exchanges = new WeakMap<Socket, Set<Exchange>>()

  /** Hands a server's requests to a listener. @param sendTimeoutMs how long a client may take nothing of its answer */
  serve(server: Server, listener: RequestListener, sendTimeoutMs: number): void {
    server.on('connection', (socket) => this.#opened(socket))
    server.on('secureConnection', (socket) => this.#opened(socket))
    const begin: RequestListener = (request, response) => {
      this.#began({ request, response })
      // Until it is answered; between requests it is Node that tells how long a connection may be idle.
      request.socket.setTimeout(sendTimeoutMs)
      listener(request, response)
    }
    server.on('request', begin)
    // Who asks before sending the body is told to go on once nothing but the body is missing.
    server.on('checkContinue', begin)
  }

  /**
   * Ends what is between requests, or has not sent the headers of one; and after a grace, what has not sent all of its
   * request, or does not take its answer. Requests that are being answered go on.
   */
  stop(graceMs: number): void {
    const until = performance.now() + graceMs
    const sweep = () => {
      const isOver = performance.now() < until ? () => false : waitsForClient
      for (const socket of this.#open.values()) if (this.#exchangesOf(socket).every(isOver)) socket.destroy()
    }
    sweep()
    setInterval(sweep, sweepEveryMs).unref()
  }

  #opened(socket: Socket): void {
    const address = `${socket.remoteAddress} ${socket.remotePort}`
    this.#open.set(address, socket)
    socket.once('close', () => {
      if (this.#open.get(address) === socket) this.#open.delete(address)
      // Node tells only the response that is being sent.
      for (const { response } of this.#exchangesOf(socket)) if (response.socket === null) response.emit('close')
    })
  }

  #began(exchange: Exchange): void {
    const { request, response } = exchange
    const { socket } = request
    const exchanges = this.#exchanges.get(socket) ?? new Set()
    this.#exchanges.set(socket, exchanges.add(exchange))
    response.once('close', () => exchanges.delete(exchange))
    // Nothing moved for so long. As long as nothing is to be sent, it is the client that waits.
    response.on('timeout', () => {
      if (socket.writableLength > 0) socket.destroy()
    })
  }

  readonly #exchangesOf = (socket: Socket): readonly Exchange[] => [...(this.#exchanges.get(socket) ?? [])]
}

/** It has not sent its whole request, or not taken its whole answer. */
const waitsForClient = ({ request, response }: Exchange): boolean => !request.complete || response.writableEnded
