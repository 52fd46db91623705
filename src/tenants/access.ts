// Who asks: the one who holds a key, or without any keys the one user of this machine.

import type { Owner } from '../owner.js'
import { Problem } from '../problem.js'
import type { Store } from '../store/store.js'
import { Keys } from './keys.js'
import { hashKey, isKeyWithHash } from './secret.js'
import { operator, readSameTenant, scraper, type TaskOwner, type Tenant } from './tenant.js'

export interface Caller {
  readonly owner: Owner
  /** Of a key in the store its id; `environment` for the operator's key that the server was started with. */
  readonly key: string | null
  /** Whom the owner is a name of. The operator and whoever reads metrics are no tenants. */
  readonly tenant?: Tenant
}

export interface Access {
  /**
   * @param authorization the header of a request
   * @throws Problem `unauthenticated`, in the same words whatever is wrong with the key
   */
  identify(authorization: string | undefined): Caller
  /**
   * Checks once more after a request's body was read: the tenant may have been removed in the meantime, and another one may
   * have its id.
   * @throws Problem `unauthenticated`
   */
  checkAgain(caller: Caller): void
  /** Whether whoever reaches the server may use it, for there are no keys. */
  readonly open: boolean
}

/** Who a caller changes tasks for. @throws Problem `forbidden` for the key of metrics */
export function taskOwnerOf({ owner, tenant }: Caller): TaskOwner {
  if (tenant !== undefined) return tenant
  if (owner === operator) return operator
  throw new Problem('forbidden', `the key is of "${owner}", which has no tasks`)
}

/** The one user of a server without keys: the operator, without a key. */
export const singleUser: Access = {
  open: true,
  identify: () => ({ owner: operator, key: null }),
  checkAgain: () => {},
}

export interface AccessOptions {
  /** The operator's key beside those in the store, or undefined. */
  readonly operatorKey: string | undefined
  /** Whether the server may run without keys: nobody but its user reaches it, or that was asked for. */
  readonly mayBeOpen: boolean
}

export class KeyedAccess implements Access {
  readonly keys: Keys
  readonly #operatorKeyHash: Buffer | undefined
  /** What has had keys once is never open again, for it may be reached through a proxy on this machine. */
  #wasEverConfigured = false

  constructor(
    readonly store: Store,
    readonly options: AccessOptions,
  ) {
    this.keys = new Keys(store)
    this.#operatorKeyHash = options.operatorKey === undefined ? undefined : hashKey(options.operatorKey)
  }

  /** Whether anything says that keys are wanted: one of them, even an expired one, or a tenant. */
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
      ? new Problem(
          'unauthenticated',
          'this server answers holders of a key; expected the header Authorization: Bearer <key>',
        )
      : invalidKey()
  }

  checkAgain({ tenant }: Caller): void {
    if (tenant !== undefined && readSameTenant(this.store, tenant) === undefined) throw invalidKey()
  }

  /** Asked with every request of an open server: to look for one record costs less than to count them. */
  #holdsAny(table: 'keys' | 'tenants'): boolean {
    const [first] = this.store.range(table, { limit: 1 })
    return first !== undefined
  }

  #callerOf(text: string): Caller | undefined {
    if (this.#operatorKeyHash !== undefined && isKeyWithHash(this.#operatorKeyHash, text))
      return { owner: operator, key: 'environment' }
    const key = this.keys.find(text)
    if (key === undefined) return undefined
    const { owner, incarnation } = key
    const caller = { owner, key: key.id }
    if (owner === operator || owner === scraper) return caller
    const tenant = readSameTenant(this.store, { id: owner, incarnation })
    return tenant && { ...caller, tenant }
  }
}

const invalidKey = (): Problem =>
  new Problem('unauthenticated', 'the key of the Authorization header is none, or is none any more')
