// Damage in lmdb files.

import { readFileSync, writeFileSync } from 'node:fs'
import { randomBytes } from '../support/material.js'

const pageSize = 4096
const flagsAt = 18
/** Pages of the index: branches and leaves. */
const indexFlags = [1, 2]
/** Of a page's begin, where its header and its list of entries are. */
const headBytes = 60

/** Flips single bits in pages of the index of a database that no process has open. */
export function flipBits(path: string, seed: number, flips: number): void {
  const bytes = readFileSync(path)
  const random = randomBytes(seed)
  const below = (limit: number) => (random() * 256 + random()) % limit
  const index = Array.from({ length: Math.floor(bytes.length / pageSize) }, (_, page) => page * pageSize).filter(
    (at) => at >= 2 * pageSize && indexFlags.includes(bytes.readUInt16LE(at + flagsAt)),
  )
  for (let flip = 0; flip < flips; flip++) {
    const at = (index[below(index.length)] ?? 0) + flagsAt + below(headBytes)
    bytes[at] = (bytes[at] ?? 0) ^ (1 << below(8))
  }
  writeFileSync(path, bytes)
}
