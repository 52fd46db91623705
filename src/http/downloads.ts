// Responses of many bytes. They go to the socket in chunks, as fast as the client reads them.

import { Readable } from 'node:stream'
import type { FastifyReply } from 'fastify'

/** Bytes of a response that are copied into the buffers of the socket at a time. */
export const chunkBytes = 64 * 1024

/**
 * Sends bytes unchanged. They stay in memory until the client has received the last chunk or has disconnected; `reply.raw`
 * emits `close` only then.
 */
export function sendInChunks(reply: FastifyReply, bytes: Uint8Array): FastifyReply {
  return reply.header('content-length', bytes.byteLength).send(Readable.from(chunksOf(bytes), { highWaterMark: 1 }))
}

function* chunksOf(bytes: Uint8Array): Generator<Uint8Array> {
  for (let start = 0; start < bytes.byteLength; start += chunkBytes) yield bytes.subarray(start, start + chunkBytes)
}
