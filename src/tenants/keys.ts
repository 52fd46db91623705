// The API keys in the store. A key is stored under its owner and id: its hash, its terms and the incarnation of its
// tenant. Every request looks its key up in the store, so that a revocation by any process on the same store takes
// effect at once.

import type { Owner } from '../owner.js'
import { Problem, quoted } from '../problem.js'
import { recordsIn, type Store, type StoreReader, type StoreWriter } from '../store/store.js'
import { isOutcomeUnknown } from './audit.js'
import { hashKey, isKeyWithHash, type KeyName, makeKey, parseKey } from './secret.js'
import { operator, readTenant, scraper, type TenantIdentity, unknownTenant } from './tenant.js'

export interface KeyTerms {
  /** When the key expires, in ISO 8601. Null for never. */
  readonly expires: string | null
  /** A note for people, for example where the key is used. */
  readonly description: string | null
}

export interface Key extends KeyName, KeyTerms {
  /** ISO 8601. */
  readonly created: string
}

/** A key that was found by its text. It is valid only while its tenant has this incarnation. */
export interface FoundKey extends Key, Pick<TenantIdentity, 'incarnation'> {}

interface KeyRecord extends Omit<FoundKey, 'owner' | 'id'> {
  /** SHA-256 in hex. */
  readonly hash: string
}

/** The most keys of one owner: enough for rotation, and few enough for a list without pages. */
const maxKeys = 100

const dayMs = 24 * 60 * 60 * 1000

/** Compared with a text that names no key, so that it takes as long as a wrong key. */
const noHash = Buffer.alloc(32)

export class Keys {
  constructor(
    readonly store: Store,
    /** In milliseconds since 1970. */
    readonly now: () => number = Date.now,
  ) {}

  /**
   * Creates a key. Its text is returned here and never again.
   * @throws Problem `invalid_request` for an expiry that is not in the future; `unknown_tenant`; `quota_exceeded`
   *   beyond 100 keys of one owner; `outcome_unknown`, with the key's id in its details
   */
  async create(owner: Owner, { expires: given, description }: KeyTerms): Promise<{ key: Key; text: string }> {
    const expires = given === null ? null : this.#parseExpiry(given)
    const { id, key: text } = makeKey(owner)
    const create = (records: StoreWriter) => {
      const incarnation = incarnationOf(records, owner)
      if (keysOf(records, owner, incarnation).length >= maxKeys)
        throw new Problem('quota_exceeded', `"${owner}" already has ${maxKeys} keys, the maximum; revoke one first`, {
          quota: 'keys',
          used: maxKeys,
          limit: maxKeys,
        })
      const terms = { created: new Date(this.now()).toISOString(), expires, description }
      const record: KeyRecord = { hash: hashKey(text).toString('hex'), incarnation, ...terms }
      records.put('keys', recordKey({ owner, id }), Buffer.from(JSON.stringify(record)))
      return { key: { owner, id, ...terms }, text }
    }
    return this.store.change(create).catch((error) => {
      throw isOutcomeUnknown(error) ? new Problem(error.code, error.message, { ...error.details, key: id }) : error
    })
  }

  /** Ordered by creation time. @throws Problem `unknown_tenant` */
  list(owner: Owner): Key[] {
    const keys = keysOf(this.store, owner, incarnationOf(this.store, owner))
    return keys.toSorted((a, b) => (a.created < b.created ? -1 : 1))
  }

  /**
   * Revokes a key, permanently and with immediate effect.
   * @throws Problem `unknown_tenant`, `unknown_key`; `last_operator_key` for the operator's only valid key
   */
  async revoke(owner: Owner, id: string): Promise<void> {
    await this.store.change((records) => {
      const keys = keysOf(records, owner, incarnationOf(records, owner))
      if (!keys.some((key) => key.id === id)) throw new Problem('unknown_key', `"${owner}" has no key ${quoted(id)}`)
      if (owner === operator && !keys.some((key) => key.id !== id && isLive(key, this.now())))
        throw new Problem('last_operator_key', `key "${id}" is the operator's last valid key; create another one first`)
      records.remove('keys', recordKey({ owner, id }))
    })
  }

  #parseExpiry(text: string): string {
    const time = /^\d{4}-\d\d-\d\dT/.test(text) ? Date.parse(text) : Number.NaN
    if (time > this.now()) return new Date(time).toISOString()
    throw new Problem(
      'invalid_request',
      `a key cannot expire at ${quoted(text)}; expected a time in the future, such as ${new Date(this.now() + 90 * dayMs).toISOString()}`,
    )
  }
}

/** The valid key with this text, if any. The caller has to compare its incarnation with that of the tenant. */
export function findKey(records: StoreReader, text: string, now = Date.now()): FoundKey | undefined {
  const name = parseKey(text)
  const record = name && readKey(records, name)
  const right = isKeyWithHash(record ? Buffer.from(record.hash, 'hex') : noHash, text)
  if (name === undefined || record === undefined || !right || !isLive(record, now)) return undefined
  return { ...name, ...termsOf(record), incarnation: record.incarnation }
}

const isLive = ({ expires }: Pick<Key, 'expires'>, now: number): boolean =>
  expires === null || Date.parse(expires) > now

/** Removes all keys of an owner, of any incarnation, as part of a change. */
export function removeKeys(records: StoreWriter, owner: Owner): void {
  for (const [key] of [...records.range('keys', recordsIn(owner))]) records.remove('keys', key)
}

const recordKey = ({ owner, id }: KeyName): string => `${owner}/${id}`

/** Earlier versions stored no incarnation with keys and tenants. It counts as empty. */
const parseRecord = (bytes: Buffer): KeyRecord => ({
  incarnation: '',
  ...(JSON.parse(bytes.toString()) as Omit<KeyRecord, 'incarnation'> & Partial<KeyRecord>),
})

function readKey(records: StoreReader, name: KeyName): KeyRecord | undefined {
  const bytes = records.get('keys', recordKey(name))
  return bytes && parseRecord(bytes)
}

function keysOf(records: StoreReader, owner: Owner, incarnation: string): Key[] {
  return Array.from(records.range('keys', recordsIn(owner)), ([key, bytes]) => ({
    id: key.slice(owner.length + 1),
    record: parseRecord(bytes),
  })).flatMap(({ id, record }) => (record.incarnation === incarnation ? [{ owner, id, ...termsOf(record) }] : []))
}

const termsOf = ({ created, expires, description }: KeyRecord): Omit<Key, 'owner' | 'id'> => ({
  created,
  expires,
  description,
})

/** The incarnation that an owner's keys must have. Owners that are not tenants have only one. */
function incarnationOf(records: StoreReader, owner: Owner): string {
  if (owner === operator || owner === scraper) return ''
  const tenant = readTenant(records, owner)
  if (tenant === undefined) throw unknownTenant(owner)
  return tenant.incarnation
}
