// Authentication: finds out who sends a request. That is the holder of an API key or, without any keys, the single user
// of this machine.

import type { Owner } from '../owner.js'
import { Problem } from '../problem.js'
import type { StoreReader } from '../store/store.js'
import { findKey } from './keys.js'
import { hashKey, isKeyWithHash } from './secret.js'
import { operator, readSameTenant, scraper, type TaskOwner, type Tenant } from './tenant.js'

export interface Caller {
  readonly owner: Owner
  /** The id of a key in the store. `environment` for the operator's key that the server was started with. */
  readonly key: string | null
  /** The tenant that the owner names. The operator and the key for metrics belong to no tenant. */
  readonly tenant?: Tenant
}

export interface Access {
  /**
   * @param authorization the header of a request
   * @throws Problem `unauthenticated`, with the same text whatever is wrong with the key
   */
  identify(authorization: string | undefined): Caller
  /**
   * Checks the tenant again after a request's body was read. In the meantime it may have been removed, and another
   * tenant may have been created with its id.
   * @throws Problem `unauthenticated`
   */
  checkAgain(caller: Caller): void
  /** Whether requests need no key, because there are no keys. */
  readonly open: boolean
}

/** The owner of the tasks that a caller changes. @throws Problem `forbidden` for a key for metrics */
export function taskOwnerOf({ owner, tenant }: Caller): TaskOwner {
  if (tenant !== undefined) return tenant
  if (owner === operator) return operator
  throw new Problem('forbidden', `the API key belongs to "${owner}", which cannot have tasks`)
}

/** A server without keys has one user: the operator. */
export const singleUser: Access = {
  open: true,
  identify: () => ({ owner: operator, key: null }),
  checkAgain: () => {},
}

export interface AccessOptions {
  /** A key of the operator in addition to those in the store. */
  readonly operatorKey: string | undefined
  /** Whether the server may run without keys: only local users can reach it, or the operator has allowed it. */
  readonly mayBeOpen: boolean
}

export class KeyedAccess implements Access {
  readonly #operatorKeyHash: Buffer | undefined
  /** A server that has had keys never becomes open again, because a proxy on this machine may expose it. */
  #wasEverConfigured = false

  constructor(
    readonly store: StoreReader,
    readonly options: AccessOptions,
  ) {
    this.#operatorKeyHash = options.operatorKey === undefined ? undefined : hashKey(options.operatorKey)
  }

  /** Whether authentication was set up: there is a key, even an expired one, or a tenant. */
  get configured(): boolean {
    this.#wasEverConfigured ||=
      this.#operatorKeyHash !== undefined || this.#holdsAny('keys') || this.#holdsAny('tenants')
    return this.#wasEverConfigured
  }

  get open(): boolean {
    return this.options.mayBeOpen && !this.configured
  }

  identify(authorization: string | undefined): Caller {
    if (this.open) return singleUser.identify(authorization)
    const text = /^Bearer +([^ ]+) *$/i.exec(authorization ?? '')?.[1]
    const caller = text === undefined ? undefined : this.#callerOf(text)
    if (caller !== undefined) return caller
    throw text === undefined
      ? new Problem('unauthenticated', 'this server requires an API key; send the header Authorization: Bearer <key>')
      : invalidKey()
  }

  checkAgain({ tenant }: Caller): void {
    if (tenant !== undefined && readSameTenant(this.store, tenant) === undefined) throw invalidKey()
  }

  /** An open server calls this for every request. Reading one record is cheaper than counting them. */
  #holdsAny(table: 'keys' | 'tenants'): boolean {
    const [first] = this.store.range(table, { limit: 1 })
    return first !== undefined
  }

  #callerOf(text: string): Caller | undefined {
    if (this.#operatorKeyHash !== undefined && isKeyWithHash(this.#operatorKeyHash, text))
      return { owner: operator, key: 'environment' }
    const key = findKey(this.store, text)
    if (key === undefined) return undefined
    const { owner, incarnation } = key
    const caller = { owner, key: key.id }
    if (owner === operator || owner === scraper) return caller
    const tenant = readSameTenant(this.store, { id: owner, incarnation })
    return tenant && { ...caller, tenant }
  }
}

const invalidKey = (): Problem =>
  new Problem('unauthenticated', 'the API key in the Authorization header is unknown, expired or revoked')
