// Large JSON responses. They are serialised in slices, so that the event loop stays free, and sent as fast as the client
// reads them.

import { Readable } from 'node:stream'
import type { FastifyReply } from 'fastify'
import type { SlicedWork } from '../costs/sliced-work.js'
import type { Owner } from '../owner.js'
import type { Steps } from '../steps.js'

/** A response of fewer values is serialised at once, which takes a fraction of a millisecond. */
export const smallResponseValues = 1_000

/** Values between two pauses, and characters of a piece. */
const valuesAtOnce = 1_000
const pieceLength = 64 * 1024

/** Serialises a value like JSON.stringify, in pieces of UTF-8. */
export function* jsonInSteps(value: object): Steps<Buffer[]> {
  const pieces: Buffer[] = []
  let text = ''
  let values = 0
  const flush = () => {
    pieces.push(Buffer.from(text))
    text = ''
  }
  function* write(part: object): Steps<void> {
    const isArray = Array.isArray(part)
    let before = isArray ? '[' : '{'
    for (const [key, inner] of Object.entries(part)) {
      if (inner === undefined && !isArray) continue
      text += isArray ? before : `${before}${JSON.stringify(key)}:`
      before = ','
      if (isNested(inner)) yield* write(inner)
      else text += JSON.stringify(inner ?? null)
      if (++values % valuesAtOnce === 0) yield
      if (text.length > pieceLength) flush()
    }
    text += before === ',' ? '' : before
    text += isArray ? ']' : '}'
  }
  yield* write(value)
  flush()
  return pieces
}

/** Whether a value contains arrays or objects. Other values are small, and JSON.stringify is faster. */
const isNested = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && Object.values(value).some((inner) => typeof inner === 'object')

/** Serialises a value in slices and sends it. */
export async function sendLarge(
  reply: FastifyReply,
  work: SlicedWork,
  owner: Owner,
  value: object,
  signal?: AbortSignal,
): Promise<never> {
  const pieces = await work.run(owner, jsonInSteps(value), signal)
  const length = pieces.reduce((sum, { byteLength }) => sum + byteLength, 0)
  reply.type('application/json; charset=utf-8').header('content-length', length)
  // The cast is needed because Fastify's types expect the value itself.
  return reply.send(Readable.from(pieces)) as never
}
