// A crowd of bad clients: they hold connections and send slowly, or not at all, or too much, or leave without their
// answers. Runs as a forked process, until it is ended.

import { connect, type Socket } from 'node:net'
import { type PostRequest, requestText } from '../support/connection.js'

/** The request of `path` and `body` is that of those who leave; only its path is used by the others. */
export interface CrowdRequest extends PostRequest {
  readonly url: string
  /** Connections that are held: a third each sends nothing after a while, headers slowly, a body slowly. */
  readonly holding: number
  /** How many a second send headers that are too large, as many a body that is, and as many leave at once. */
  readonly perSecond: number
}

const everyMs = 500

process.on('message', ({ url, holding, perSecond, path, body }: CrowdRequest) => {
  const { hostname, port, host } = new URL(url)
  const head = (method: string, target: string, headers: readonly string[]) =>
    [`${method} ${target} HTTP/1.1`, `host: ${host}`, ...headers].join('\r\n')
  const json = 'content-type: application/json'

  /** It is told nothing: what comes back is thrown away. */
  const open = (bytes: string): Socket => {
    const socket = connect({ host: hostname, port: Number(port) })
    socket.on('error', () => {})
    socket.resume().write(bytes)
    return socket
  }

  const slow: readonly (readonly [begin: string, piece: string])[] = [
    [head('GET', '/tasks', []), ''],
    [`${head('GET', '/tasks', [])}\r\n`, 'x: y\r\n'],
    [`${head('POST', path, [json, 'content-length: 9000'])}\r\n\r\n`, ' '],
  ]
  /** Whoever is cut off comes again. */
  const hold = ([begin, piece]: (typeof slow)[number]) => {
    const socket = open(begin)
    const timer = setInterval(() => piece && socket.writable && socket.write(piece), everyMs)
    socket.once('close', () => {
      clearInterval(timer)
      setTimeout(hold, 100, [begin, piece])
    })
  }
  for (let count = 0; count < holding; count++) for (const kind of slow.slice(count % 3, (count % 3) + 1)) hold(kind)

  const large = 'x'.repeat(100_000)
  const chunks = `${large.length.toString(16)}\r\n${large}\r\n`.repeat(15)
  const request = requestText(host, { path, body })
  setInterval(() => {
    open(`${head('GET', '/tasks', [`x: ${large}`])}\r\n\r\n`)
    open(`${head('POST', path, [json, 'transfer-encoding: chunked'])}\r\n\r\n${chunks}0\r\n\r\n`)
    const leaving = open(request)
    setTimeout(() => leaving.resetAndDestroy(), 5)
  }, 1_000 / perSecond)
})
