// SHA-256 in lower-case hexadecimal. Files refer to each other by it (a task to its prototype, a prototype to its
// backbone), and it is the version of a task.

import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import type { Steps } from '../steps.js'

export const digestOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** Bytes that are digested in one step. */
const bytesPerStep = 2 ** 18

/** {@link digestOf} in steps, for large files. */
export function* digestInSteps(bytes: Uint8Array): Steps<string> {
  const hash = createHash('sha256')
  for (let at = 0; at < bytes.byteLength; at += bytesPerStep) {
    if (at > 0) yield
    hash.update(bytes.subarray(at, at + bytesPerStep))
  }
  return hash.digest('hex')
}

/** Digest of a file on disk. It is read in pieces, so it need not fit into memory. */
export async function digestOfFile(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const piece of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(piece as Buffer)
  return hash.digest('hex')
}
