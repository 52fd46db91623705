// Request bodies of every content type, with or without Content-Length: how they are read, counted and bounded, and what
// happens to those that no route reads.

import { isUtf8 } from 'node:buffer'
import type { IncomingMessage } from 'node:http'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { TObject } from 'typebox'
import type { SlicedWork } from '../costs/sliced-work.js'
import { Problem, quoted } from '../problem.js'
import { afterRunning } from '../running-time.js'
import { finish, type Steps } from '../steps.js'
import { BodyTurns } from './body-turns.js'
import { Request } from './connections.js'
import { excessOf, maxDepth, maxValues } from './json-shape.js'
import { readMediaType } from './media-types.js'
import { Pace } from './pace.js'

/**
 * Called with the number of bytes that have arrived, before they are kept. If it throws a Problem, the request is rejected
 * and the rest of its body is not kept.
 */
export type OnBytes = (request: FastifyRequest, bytes: number) => void

/** Reads a whole body. @throws Problem `body_too_large` over the limit of the route, `client_closed_request`, those of OnBytes */
export type ReadBody = (request: FastifyRequest, body: NodeJS.ReadableStream) => Promise<Buffer>

/** Makes the function that reads all bodies. */
export function bodyReader(onBytes: OnBytes): ReadBody {
  const turns = new BodyTurns()
  return (request, body) =>
    new Promise((resolve, reject) => {
      const limit = request.routeOptions.bodyLimit ?? 0
      const most = Math.min(limit, Number(request.headers['content-length'] ?? limit))
      // One growing buffer: small pieces, kept as separate objects, would take many times their size.
      let held = Buffer.alloc(0)
      let bytes = 0
      const take = (piece: Buffer) => {
        const start = bytes
        bytes += piece.byteLength
        try {
          if (bytes > limit) throw tooLarge(limit)
          if (hasTinyPieces(request)) throw tooTiny()
          onBytes(request, piece.byteLength)
        } catch (problem) {
          body.off('data', take).pause()
          reject(problem)
          return
        }
        if (bytes > held.byteLength) held = grown(held.subarray(0, start), Math.max(bytes, Math.min(2 * bytes, most)))
        piece.copy(held, start)
        if (bytes < most && request.raw instanceof Request) turns.pieceRead(request.caller?.owner ?? '', request.raw)
      }
      const leave = () =>
        reject(
          new Problem('client_closed_request', 'the client closed the connection before the whole request arrived'),
        )
      body.on('data', take)
      body.once('end', () => {
        // An error takes some microseconds to make, and every body closes.
        body.off('close', leave)
        resolve(held.subarray(0, bytes))
      })
      body.once('error', leave)
      body.once('close', leave)
    })
}

function grown(held: Buffer, bytes: number): Buffer<ArrayBuffer> {
  const larger = Buffer.allocUnsafeSlow(bytes)
  held.copy(larger)
  return larger
}

const hasTinyPieces = ({ raw }: FastifyRequest): boolean => raw instanceof Request && raw.hasTinyPieces

export const tooTiny = (): Problem =>
  new Problem('invalid_request', 'the body arrives in too many tiny chunks; send larger ones')

export const tooLarge = (limit: number): Problem =>
  new Problem('body_too_large', `the body has more than ${limit} bytes, the limit of this route`, { limit })

/** Parses JSON in UTF-8 with a bounded number of values. A byte order mark is ignored (RFC 8259, section 8.1). */
export function addJsonParser(app: FastifyInstance, readBody: ReadBody, maxInputs: number, work: SlicedWork): void {
  // It rejects keys that could change prototypes.
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
    if (!isUtf8(body)) throw new Problem('invalid_json', 'the body is not UTF-8; encode JSON in UTF-8')
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

/** The error of JSON.parse names the position. A body that it accepts has a key that could change prototypes. */
function invalidJson(text: string): Problem {
  if (text.trim() === '') return new Problem('invalid_json', 'the body is empty; expected JSON')
  try {
    JSON.parse(text)
  } catch (error) {
    const { message } = error as Error
    return new Problem('invalid_json', `the body is not JSON: ${message}${jsonAdvice(text, message)}`)
  }
  return new Problem('invalid_json', 'the body has the key __proto__ or constructor.prototype, which is not allowed')
}

/** What to do about a usual mistake at the position that an error names. */
function jsonAdvice(text: string, message: string): string {
  const at = Number(/at position (\d+)/.exec(message)?.[1] ?? Number.NaN)
  const [before, found = ''] = [text.slice(0, at).trimEnd().at(-1), text[at]]
  if (text.includes('\0')) return '; encode JSON in UTF-8, not UTF-16'
  if (found === "'") return '; use double quotes, not single ones'
  if (before === ',' && /[\]}]/.test(found)) return '; remove the comma before it'
  if ((before === '{' || before === ',') && /[a-z_]/i.test(found)) return '; put the name in double quotes'
  return ''
}

/** Largest body in bytes that is parsed at once, which takes a fraction of a millisecond. */
const parsedAtOnce = 16 * 1024

function rejectExcess({ routeOptions }: FastifyRequest, body: Buffer, maxInputs: number): void {
  const most = maxValues(maxInputs)
  const excess = excessOf(body, most)
  if (excess === 'depth')
    throw new Problem('invalid_request', `the body has more than ${maxDepth} levels of arrays and objects`)
  if (excess === undefined) return
  const takesInputs = (routeOptions.schema?.body as TObject | undefined)?.properties.inputs !== undefined
  throw takesInputs
    ? new Problem(
        'too_many_inputs',
        `the body has more than ${most} values; at most ${maxInputs} inputs are allowed in one request`,
        {
          limit: maxInputs,
        },
      )
    : new Problem('invalid_request', `the body has more than ${most} values`)
}

/** Most bytes of a body that are read and discarded, and for how long: many clients send all before they read the response. */
interface DiscardLimit {
  readonly bytes: number
  readonly ms: number
}
const discardLimits: Record<'anonymous' | 'caller', DiscardLimit> = {
  anonymous: { bytes: 1024 * 1024, ms: 1_000 },
  caller: { bytes: 64 * 1024 * 1024, ms: 10_000 },
}

/** Time between two pieces of rejected bodies, over all connections, in milliseconds: about 64 MB per second. */
const discardEveryMs = 1

/** Call it after the authentication hook. Bodies are rejected before they are read if the headers are reason enough. */
export function addBodyHooks(app: FastifyInstance): void {
  const pace = new Pace(discardEveryMs)
  app.addHook('onRequest', async ({ headers, routeOptions }) => {
    const bytes = Number(headers['content-length'] ?? 0)
    const limit = routeOptions.bodyLimit ?? 0
    if (bytes > limit)
      throw new Problem('body_too_large', `the body has ${bytes} bytes; this route allows at most ${limit}`, {
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
    // Fastify closes the connection on errors of bodies, even if they were read.
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
      `the content encoding is ${quoted(coding)}; send the body without compression`,
    )
  const charset = readMediaType(headers['content-type']).parameters.get('charset')?.toLowerCase()
  if (charset !== undefined && charset !== 'utf-8' && charset !== 'utf8')
    throw new Problem('unsupported_media_type', `the charset is ${quoted(charset)}; expected utf-8`)
}

/**
 * Whether the whole request was read. Most clients read the response only after they have sent everything, so the rest is
 * read and discarded, unless it is too much. It is read slowly, so that rejected bodies do not block the event loop.
 */
async function isRead(request: FastifyRequest, pace: Pace): Promise<boolean> {
  const { raw, headers } = request
  if (raw.readableEnded || !hasBody(request)) return true
  const most = discardLimits[request.caller ? 'caller' : 'anonymous']
  // A client that expects 100 Continue does not send the body, or handles an interruption.
  if (headers.expect !== undefined || raw.destroyed || Number(headers['content-length'] ?? 0) > most.bytes) return false
  let bytes = 0
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
      if (bytes > most.bytes) done(false)
      // Tiny pieces are discarded already. The socket is read slowly.
      else if (!hasTinyPieces(request)) {
        raw.pause()
        next = setTimeout(() => raw.resume(), pace.take())
      }
    }
    const cancelTimeout = afterRunning(most.ms, () => done(false))
    // The code that rejected the body may have paused it.
    raw.on('data', discard).resume()
    raw.once('end', () => done(true))
    raw.once('close', () => done(false))
  })
}
