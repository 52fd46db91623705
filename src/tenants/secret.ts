// The text of an API key: propetl_<owner>_<id>_<secret>. The prefix lets secret scanners find leaked keys. The owner
// and the id say which key to revoke. Only the last part is secret: 256 random bits.

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import type { Owner } from '../owner.js'

const secretBytes = 32
const idBytes = 6
const keyPattern = /^propetl_([a-z0-9][a-z0-9-]{0,62})_([0-9a-f]{12})_[0-9a-f]{64}$/

export interface KeyName {
  readonly owner: Owner
  /** Public: lists and logs contain it. */
  readonly id: string
}

/** Creates a key for an owner. */
export function makeKey(owner: Owner): KeyName & { readonly key: string } {
  const id = randomBytes(idBytes).toString('hex')
  return { owner, id, key: `propetl_${owner}_${id}_${randomBytes(secretBytes).toString('hex')}` }
}

/** The owner and id in the text of a key; undefined if the text is not a key. Does not check the secret. */
export function parseKey(text: string): KeyName | undefined {
  const [, owner, id] = keyPattern.exec(text) ?? []
  return owner === undefined || id === undefined ? undefined : { owner, id }
}

/**
 * The hash that is stored for a key. A fast hash is sufficient: slow hashes protect passwords, which can be guessed,
 * but nobody can try 2^256 keys. Every request needs one hash.
 */
export const hashKey = (key: string): Buffer => createHash('sha256').update(key).digest()

/**
 * Whether a text is the key with this hash. The time that it takes does not depend on how much of the text is right.
 */
export const isKeyWithHash = (hash: Uint8Array, text: string): boolean => timingSafeEqual(hash, hashKey(text))
