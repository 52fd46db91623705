// Clients that misbehave: they hold connections and send slowly or nothing, send too much, or abort. Runs as a forked
// process until it is killed.

import { connect, type Socket } from 'node:net'
import { type PostRequest, requestText } from '../support/connection.js'

/** The clients that abort send the request of `path` and `body`; the others use only its path. */
export interface BadClientsRequest extends PostRequest {
  readonly url: string
  /** Connections that are held. A third each: stops in its headers, sends headers slowly, sends a body slowly. */
  readonly heldConnections: number
  /** Requests per second of each other kind: too large headers, too large bodies, aborted requests. */
  readonly perSecond: number
}

const pieceEveryMs = 500

process.on('disconnect', () => process.exit())
process.on('message', ({ url, heldConnections, perSecond, path, body }: BadClientsRequest) => {
  const { hostname, port, host } = new URL(url)
  const head = (method: string, target: string, headers: readonly string[]) =>
    [`${method} ${target} HTTP/1.1`, `host: ${host}`, ...headers].join('\r\n')
  const json = 'content-type: application/json'

  /** Sends bytes on a new connection, and discards what comes back. */
  const open = (bytes: string): Socket => {
    const socket = connect({ host: hostname, port: Number(port) })
    socket.on('error', () => {})
    socket.resume().write(bytes)
    return socket
  }

  const slow: readonly (readonly [start: string, piece: string])[] = [
    [head('GET', '/tasks', []), ''],
    [`${head('GET', '/tasks', [])}\r\n`, 'x: y\r\n'],
    [`${head('POST', path, [json, 'content-length: 9000'])}\r\n\r\n`, ' '],
  ]
  /** Holds a connection, and opens it again when the server closes it. */
  const hold = ([start, piece]: (typeof slow)[number]) => {
    const socket = open(start)
    const timer = setInterval(() => piece && socket.writable && socket.write(piece), pieceEveryMs)
    socket.once('close', () => {
      clearInterval(timer)
      setTimeout(hold, 100, [start, piece])
    })
  }
  for (let count = 0; count < heldConnections; count++)
    for (const kind of slow.slice(count % 3, (count % 3) + 1)) hold(kind)

  const large = 'x'.repeat(100_000)
  const chunks = `${large.length.toString(16)}\r\n${large}\r\n`.repeat(15)
  const request = requestText(host, { path, body })
  setInterval(() => {
    open(`${head('GET', '/tasks', [`x: ${large}`])}\r\n\r\n`)
    open(`${head('POST', path, [json, 'transfer-encoding: chunked'])}\r\n\r\n${chunks}0\r\n\r\n`)
    const aborted = open(request)
    setTimeout(() => aborted.resetAndDestroy(), 5)
  }, 1_000 / perSecond)
})
