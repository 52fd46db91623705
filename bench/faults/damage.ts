// Damages lmdb files.

import { readFileSync, writeFileSync } from 'node:fs'
import { byteSequence } from '../support/material.js'

const pageSize = 4096
const flagsAt = 18
/** Flags of branch and leaf pages, which form the index. */
const indexFlags = [1, 2]
/** The part of a page with its header and the list of its entries. */
const headBytes = 60

/** Flips bits in index pages of a database that no process has open. */
export function flipBits(path: string, seed: number, flips: number): void {
  const bytes = readFileSync(path)
  const random = byteSequence(seed)
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
