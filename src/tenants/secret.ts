// An API key as it is written: propetl_<owner>_<id>_<secret>. The prefix lets scanners of leaked secrets find it, the
// owner and the id say whose it is and which to revoke, and the last part alone is secret: 256 random bits.

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import type { Owner } from '../owner.js'

const secretBytes = 32
const idBytes = 6
const keyPattern = /^propetl_([a-z0-9][a-z0-9-]{0,62})_([0-9a-f]{12})_[0-9a-f]{64}$/

export interface KeyName {
  readonly owner: Owner
  /** Public: it is in lists and logs. */
  readonly id: string
}

/** A new key of an owner. */
export function makeKey(owner: Owner): KeyName & { readonly key: string } {
  const id = randomBytes(idBytes).toString('hex')
  return { owner, id, key: `propetl_${owner}_${id}_${randomBytes(secretBytes).toString('hex')}` }
}

/** Which key a text claims to be; undefined if it is not written like one. */
export function parseKey(text: string): KeyName | undefined {
  const [, owner, id] = keyPattern.exec(text) ?? []
  return owner === undefined || id === undefined ? undefined : { owner, id }
}

/**
 * What is stored of a key. A fast hash is right here: slow ones make up for passwords that can be guessed, and nobody
 * goes through 2^256 keys at any speed, while every request has to be checked.
 */
export const hashKey = (key: string): Buffer => createHash('sha256').update(key).digest()

/** Whether a text is the key of a hash, in a time that does not tell how much of it is right. */
export const isKeyWithHash = (hash: Uint8Array, text: string): boolean => timingSafeEqual(hash, hashKey(text))
