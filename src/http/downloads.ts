// Answers of many bytes: they are given to the socket piece by piece, as their client takes them.

import { Readable } from 'node:stream'
import type { FastifyReply } from 'fastify'

/** Of an answer, about as much is copied into the socket's buffers at a time. */
export const chunkBytes = 64 * 1024

/**
 * Sends bytes as they are. They are held until the client has taken the last piece, or has left.
 * Until then `reply.raw` emits no `close`.
 */
export function sendInChunks(reply: FastifyReply, bytes: Uint8Array): FastifyReply {
  return reply.header('content-length', bytes.byteLength).send(Readable.from(chunksOf(bytes), { highWaterMark: 1 }))
}

function* chunksOf(bytes: Uint8Array): Generator<Uint8Array> {
  for (let start = 0; start < bytes.byteLength; start += chunkBytes) yield bytes.subarray(start, start + chunkBytes)
}
