// The API keys in the store: each under its owner and id, as a hash and what is said of it. Every request looks its key
// up anew, so that one that is revoked, here or by another process on the same store, is one no more at once.

import { Problem, quoted } from '../problem.js'
import { recordsIn, type Store, type StoreReader, type StoreWriter } from '../store/store.js'
import { hashOfKey, isKeyOf, type KeyName, makeKey, nameOfKey } from './secret.js'
import { type Owner, operator, readTenant, scraper, unknownTenant } from './tenant.js'

export interface KeyTerms {
  /** ISO 8601: from then on it is no key any more. Null for never. */
  readonly expires: string | null
  /** For people: where it is used. */
  readonly description: string | null
}

export interface Key extends KeyName, KeyTerms {
  /** ISO 8601. */
  readonly created: string
}

interface KeyRecord extends Omit<Key, 'owner' | 'id'> {
  /** SHA-256 in hex. */
  readonly hash: string
}

/** Enough to rotate with, and little enough for a list without pages. */
const maxKeys = 100

const dayMs = 24 * 60 * 60 * 1000

/** What a text is held against that names no key, so that it takes as long as a wrong one. */
const noHash = Buffer.alloc(32)

export class Keys {
  constructor(
    readonly store: Store,
    /** In milliseconds since 1970. */
    readonly now: () => number = Date.now,
  ) {}

  /**
   * Makes a key. Its text is told here and never again.
   * @throws Problem `invalid_request` for an expiry that is no time to come; `unknown_tenant`; `quota_exceeded` beyond 100
   *   keys of one owner
   */
  async create(owner: Owner, { expires: given, description }: KeyTerms): Promise<{ key: Key; text: string }> {
    const expires = given === null ? null : this.#timeToCome(given)
    return this.store.change((records) => {
      checkOwner(records, owner)
      if (keysOf(records, owner).length >= maxKeys)
        throw new Problem('quota_exceeded', `"${owner}" has ${maxKeys} keys, and more are not taken; revoke one`, {
          quota: 'keys',
          used: maxKeys,
          limit: maxKeys,
        })
      const { id, key: text } = makeKey(owner)
      const terms = { created: new Date(this.now()).toISOString(), expires, description }
      const record: KeyRecord = { hash: hashOfKey(text).toString('hex'), ...terms }
      records.put('keys', recordKey({ owner, id }), Buffer.from(JSON.stringify(record)))
      return { key: { owner, id, ...terms }, text }
    })
  }

  /** In the order of their making. @throws Problem `unknown_tenant` */
  list(owner: Owner): Key[] {
    checkOwner(this.store, owner)
    return keysOf(this.store, owner).toSorted((a, b) => (a.created < b.created ? -1 : 1))
  }

  /**
   * Makes a key none, at once and for good.
   * @throws Problem `unknown_tenant`, `unknown_key`; `last_operator_key` for the only one that manages tenants
   */
  async revoke(owner: Owner, id: string): Promise<void> {
    await this.store.change((records) => {
      checkOwner(records, owner)
      const keys = keysOf(records, owner)
      if (!keys.some((key) => key.id === id)) throw new Problem('unknown_key', `"${owner}" has no key ${quoted(id)}`)
      if (owner === operator && !keys.some((key) => key.id !== id && this.#isLive(key)))
        throw new Problem('last_operator_key', `key "${id}" is the operator's last; make another one before it goes`)
      records.remove('keys', recordKey({ owner, id }))
    })
  }

  /** The key that a text is; undefined for any other text. */
  find(text: string): Key | undefined {
    const name = nameOfKey(text)
    const record = name && readKey(this.store, name)
    const right = isKeyOf(record ? Buffer.from(record.hash, 'hex') : noHash, text)
    if (name === undefined || record === undefined || !right || !this.#isLive(record)) return undefined
    return { ...name, ...withoutHash(record) }
  }

  #timeToCome(text: string): string {
    const time = /^\d{4}-\d\d-\d\dT/.test(text) ? Date.parse(text) : Number.NaN
    if (time > this.now()) return new Date(time).toISOString()
    throw new Problem(
      'invalid_request',
      `a key cannot expire at ${quoted(text)}; expected a time to come like ${new Date(this.now() + 90 * dayMs).toISOString()}`,
    )
  }

  #isLive({ expires }: Pick<Key, 'expires'>): boolean {
    return expires === null || Date.parse(expires) > this.now()
  }
}

/** As part of a change: none of an owner's keys is one any more. */
export function removeKeys(records: StoreWriter, owner: Owner): void {
  for (const { id } of keysOf(records, owner)) records.remove('keys', recordKey({ owner, id }))
}

const recordKey = ({ owner, id }: KeyName): string => `${owner}/${id}`

function readKey(records: StoreReader, name: KeyName): KeyRecord | undefined {
  const bytes = records.get('keys', recordKey(name))
  return bytes && (JSON.parse(bytes.toString()) as KeyRecord)
}

function keysOf(records: StoreReader, owner: Owner): Key[] {
  return Array.from(records.range('keys', recordsIn(owner)), ([key, bytes]) => ({
    owner,
    id: key.slice(owner.length + 1),
    ...withoutHash(JSON.parse(bytes.toString()) as KeyRecord),
  }))
}

function withoutHash({ created, expires, description }: KeyRecord): Omit<Key, 'owner' | 'id'> {
  return { created, expires, description }
}

function checkOwner(records: StoreReader, owner: Owner): void {
  if (owner !== operator && owner !== scraper && readTenant(records, owner) === undefined) throw unknownTenant(owner)
}
