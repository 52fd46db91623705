// SHA-256 in lower-case hex: the name by which files know each other (prototype → backbone, task → prototype)
// and the version of a task.

import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'

export const digestOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** Digest of a file that is read in pieces, so that its size does not matter. */
export async function digestOfFile(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const piece of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(piece as Buffer)
  return hash.digest('hex')
}
