// SHA-256 in lower-case hex: the name by which files know each other (prototype → backbone, task → prototype)
// and the version of a task.

import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import type { Steps } from '../steps.js'

export const digestOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** Bytes that are digested between two pauses. */
const bytesPerStep = 2 ** 18

/** The same in steps: a file may be large. */
export function* digestInSteps(bytes: Uint8Array): Steps<string> {
  const hash = createHash('sha256')
  for (let at = 0; at < bytes.byteLength; at += bytesPerStep) {
    if (at > 0) yield
    hash.update(bytes.subarray(at, at + bytesPerStep))
  }
  return hash.digest('hex')
}

/** Digest of a file that is read in pieces, so that its size does not matter. */
export async function digestOfFile(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const piece of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(piece as Buffer)
  return hash.digest('hex')
}
