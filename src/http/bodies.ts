// Bodies of requests: how they are read, counted and bounded, for every content type, whether or not their length is
// announced; and what happens to those that nobody reads.

import { isUtf8 } from 'node:buffer'
import type { IncomingMessage } from 'node:http'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { TObject } from 'typebox'
import type { SlicedWork } from '../costs/sliced-work.js'
import { Problem, quoted } from '../problem.js'
import { afterRunning } from '../running-time.js'
import { finish, type Steps } from '../steps.js'
import { Request } from './connections.js'
import { excessOf, maxDepth, maxValues } from './json-shape.js'
import { readMediaType } from './media-types.js'

/**
 * Is called with the bytes of a body as they arrive, before they are kept. A Problem that it throws refuses the request,
 * and no more of its body is kept.
 */
export type OnBytes = (request: FastifyRequest, bytes: number) => void

/** Reads a whole body. @throws Problem `body_too_large` beyond its route's limit, `client_closed_request`, what OnBytes throws */
export type ReadBody = (request: FastifyRequest, body: NodeJS.ReadableStream) => Promise<Buffer>

/** The one place where bodies are read. */
export const bodyReader =
  (onBytes: OnBytes): ReadBody =>
  (request, body) =>
    new Promise((resolve, reject) => {
      const limit = request.routeOptions.bodyLimit ?? 0
      const most = Math.min(limit, Number(request.headers['content-length'] ?? limit))
      // One buffer that grows: as an object of its own a piece of some bytes takes many times their memory.
      let held = Buffer.alloc(0)
      let bytes = 0
      let pieces = 0
      const take = (piece: Buffer) => {
        const start = bytes
        bytes += piece.byteLength
        pieces++
        try {
          if (bytes > limit) throw tooLarge(limit)
          if (areTiny(pieces, bytes)) throw tooTiny(request)
          onBytes(request, piece.byteLength)
        } catch (problem) {
          body.off('data', take).pause()
          reject(problem)
          return
        }
        if (bytes > held.byteLength) held = grown(held.subarray(0, start), Math.max(bytes, Math.min(2 * bytes, most)))
        piece.copy(held, start)
      }
      const leave = () => reject(new Problem('client_closed_request', 'the client left before its request was whole'))
      body.on('data', take)
      body.once('end', () => resolve(held.subarray(0, bytes)))
      body.once('error', leave)
      body.once('close', leave)
    })

function grown(held: Buffer, bytes: number): Buffer<ArrayBuffer> {
  const larger = Buffer.allocUnsafeSlow(bytes)
  held.copy(larger)
  return larger
}

/** A piece costs a turn through the parser, however small it is. Clients send some large ones. */
const areTiny = (pieces: number, bytes: number): boolean => pieces > 1_000 && bytes < 16 * pieces

function tooTiny({ raw }: FastifyRequest): Problem {
  if (raw instanceof Request) raw.bodyIsDiscarded = true
  return new Problem('invalid_request', 'the body comes in too many tiny chunks')
}

export const tooLarge = (limit: number): Problem =>
  new Problem('body_too_large', `the body is larger than the ${limit} bytes that are taken here`, { limit })

/** JSON in UTF-8, of few values. A byte order mark before it is ignored (RFC 8259, section 8.1). */
export function addJsonParser(app: FastifyInstance, readBody: ReadBody, maxInputs: number, work: SlicedWork): void {
  // It refuses keys that reach for prototypes.
  const parse = app.getDefaultJsonParser('error', 'error')
  const parseText = (request: FastifyRequest, text: string): unknown => {
    let result: { readonly error: Error | null; readonly value: unknown } | undefined
    void parse(request, text, (error, value) => {
      result = { error, value }
    })
    if (result?.error) throw invalidJson(text)
    return result?.value
  }
  function* parseInSteps(request: FastifyRequest, body: Buffer): Steps<unknown> {
    if (!isUtf8(body)) throw new Problem('invalid_json', 'the body is not UTF-8, as JSON has to be')
    yield
    rejectExcess(request, body, maxInputs)
    yield
    const text = body.toString()
    yield
    return parseText(request, text)
  }
  app.addContentTypeParser('application/json', async (request: FastifyRequest, payload: IncomingMessage) => {
    const body = await readBody(request, payload)
    const steps = parseInSteps(request, body)
    return body.byteLength <= parsedAtOnce ? finish(steps) : work.run(request.caller?.owner ?? '', steps)
  })
}

/** The engine says where it is wrong; a body that it takes has a key that reaches for a prototype. */
function invalidJson(text: string): Problem {
  if (text.trim() === '') return new Problem('invalid_json', 'the body is empty; expected JSON')
  try {
    JSON.parse(text)
  } catch (error) {
    return new Problem('invalid_json', `the body is not JSON: ${(error as Error).message}`)
  }
  return new Problem('invalid_json', 'the body has a key __proto__, or constructor.prototype, which is not taken')
}

/** A body up to this size is parsed at once, in bytes: it takes a fraction of a millisecond. */
const parsedAtOnce = 16 * 1024

function rejectExcess({ routeOptions }: FastifyRequest, body: Buffer, maxInputs: number): void {
  const most = maxValues(maxInputs)
  const excess = excessOf(body, most)
  if (excess === 'depth') throw new Problem('invalid_request', `the body is nested more than ${maxDepth} deep`)
  if (excess === undefined) return
  const takesInputs = (routeOptions.schema?.body as TObject | undefined)?.properties.inputs !== undefined
  throw takesInputs
    ? new Problem('too_many_inputs', `the body has more than ${most} values; at most ${maxInputs} inputs are taken`, {
        limit: maxInputs,
      })
    : new Problem('invalid_request', `the body has more than ${most} values`)
}

/** How much of a body is read and thrown away so that its client reads the answer, and for how long, in milliseconds. */
interface Discarded {
  readonly bytes: number
  readonly ms: number
}
const discardedOf: Record<'stranger' | 'caller', Discarded> = {
  stranger: { bytes: 1024 * 1024, ms: 1_000 },
  caller: { bytes: 64 * 1024 * 1024, ms: 10_000 },
}

/** How often a piece of a refused body is read, of all connections together, in milliseconds: some 64 MB a second. */
const discardEveryMs = 1

/** Times that are so far apart, given out one after the other. */
class Pace {
  #next = 0

  constructor(readonly everyMs: number) {}

  /** Milliseconds until the next time that is free; it is taken. */
  take(): number {
    const now = performance.now()
    const time = Math.max(now, this.#next)
    this.#next = time + this.everyMs
    return time - now
  }
}

/** To be called behind what identifies callers. Bodies are refused before they are read where the headers tell enough. */
export function addBodyHooks(app: FastifyInstance): void {
  const pace = new Pace(discardEveryMs)
  app.addHook('onRequest', async ({ headers, routeOptions }) => {
    const bytes = Number(headers['content-length'] ?? 0)
    const limit = routeOptions.bodyLimit ?? 0
    if (bytes > limit)
      throw new Problem('body_too_large', `the body has ${bytes} bytes; at most ${limit} are taken here`, {
        bytes,
        limit,
      })
  })
  app.addHook('preParsing', async (request, reply) => {
    if (!hasBody(request)) return
    rejectEncoded(request)
    if (request.headers.expect !== undefined) reply.raw.writeContinue()
  })
  app.addHook('onSend', async (request, reply) => {
    // Fastify closes the connection on errors of bodies, whether or not they were read.
    if (request.raw.complete || (await isRead(request, pace))) reply.removeHeader('connection')
    else reply.header('connection', 'close')
  })
}

export const hasBody = ({ headers }: FastifyRequest): boolean =>
  headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0'

/** @throws Problem `unsupported_media_type` */
function rejectEncoded({ headers }: FastifyRequest): void {
  const coding = headers['content-encoding']?.trim().toLowerCase() ?? ''
  if (coding !== '' && coding !== 'identity')
    throw new Problem(
      'unsupported_media_type',
      `the content encoding is ${quoted(coding)}; bodies are taken as they are`,
    )
  const charset = readMediaType(headers['content-type']).parameters.get('charset')?.toLowerCase()
  if (charset !== undefined && charset !== 'utf-8' && charset !== 'utf8')
    throw new Problem('unsupported_media_type', `the charset is ${quoted(charset)}; expected utf-8`)
}

/**
 * Whether nothing of a request is left to be read. Most clients read no answer before they have sent everything, so that
 * what is left is thrown away first, unless it is too much. It is read slowly, so that refused bodies leave the event loop
 * to others.
 */
async function isRead(request: FastifyRequest, pace: Pace): Promise<boolean> {
  const { raw, headers } = request
  if (raw.readableEnded || !hasBody(request)) return true
  const most = discardedOf[request.caller ? 'caller' : 'stranger']
  // A client that expects 100 Continue does not send it, or does not mind to be interrupted.
  const isDiscarded = raw instanceof Request && raw.bodyIsDiscarded
  if (
    isDiscarded ||
    headers.expect !== undefined ||
    raw.destroyed ||
    Number(headers['content-length'] ?? 0) > most.bytes
  )
    return false
  let [bytes, pieces] = [0, 0]
  let next: NodeJS.Timeout | undefined
  return new Promise((resolve) => {
    const done = (read: boolean) => {
      cancelTimeout()
      clearTimeout(next)
      raw.off('data', discard).pause()
      resolve(read)
    }
    const discard = (piece: Buffer) => {
      bytes += piece.byteLength
      pieces++
      if (bytes > most.bytes || areTiny(pieces, bytes)) done(false)
      else {
        raw.pause()
        next = setTimeout(() => raw.resume(), pace.take())
      }
    }
    const cancelTimeout = afterRunning(most.ms, () => done(false))
    // Whoever refused the body may have paused it.
    raw.on('data', discard).resume()
    raw.once('end', () => done(true))
    raw.once('close', () => done(false))
  })
}
