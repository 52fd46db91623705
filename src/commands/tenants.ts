// `propetl tenants …`: manages the tenants and API keys of a data directory, even while a server uses it. The server
// sees a change with its next request. Each change writes a line of the audit trail to standard error.

import { existsSync } from 'node:fs'
import { userInfo } from 'node:os'
import { pino } from 'pino'
import { Problem, quoted } from '../problem.js'
import { environmentVariableOf, flagOf } from '../settings.js'
import { LmdbStore, storePath } from '../store/lmdb.js'
import type { Store } from '../store/store.js'
import { type Remover, removeTenant } from '../tasks/removal.js'
import { TaskStore } from '../tasks/store.js'
import { audit, auditIfUnknown, type Change } from '../tenants/audit.js'
import { Keys, type KeyTerms } from '../tenants/keys.js'
import { defaults, type Limits, limitNames, type Tenant, type TenantSettings } from '../tenants/tenant.js'
import { Tenants } from '../tenants/tenants.js'
import { rejectMirror } from './data-directory.js'

export interface StoreFlags {
  readonly dataDir: string
  readonly json?: boolean
}

/** The limits to change; `none` removes a limit. */
export interface TenantFlags extends StoreFlags, Partial<Record<keyof Limits, number | 'none'>> {
  readonly share?: number
}

export interface KeyFlags extends StoreFlags, Partial<KeyTerms> {}

/** Creates a tenant, or changes the given limits of one. @returns the text to print @throws Problem */
export const setTenant = (id: string, flags: TenantFlags): Promise<string> =>
  withStore(flags, async (store) => {
    const tenants = new Tenants(store)
    const change = { action: 'tenant.put', tenant: id, object: id } as const
    const setting = tenants.set(id, (current: TenantSettings = defaults) => ({
      limits: { ...current.limits, ...definedLimits(flags) },
      share: flags.share ?? current.share,
    }))
    const { tenant, previous } = await recordIfUnknown(setting, () => ({ ...change, after: definedLimits(flags) }))
    const { incarnation, limits, share } = tenant
    record({
      ...change,
      incarnation,
      ...(previous && { before: { limits: previous.limits, share: previous.share } }),
      after: { limits, share },
    })
    return formatted(flags, tenantRow(tenants, tenant), table([tenantRow(tenants, tenant)]))
  })

export const listTenants = (flags: StoreFlags): Promise<string> =>
  withExistingStore(flags, async (store) => {
    const tenants = new Tenants(store)
    const all = tenants.list('', Number.MAX_SAFE_INTEGER).map((tenant) => tenantRow(tenants, tenant))
    return formatted(flags, all, all.length === 0 ? 'there are no tenants' : table(all))
  })

export const deleteTenant = (id: string, flags: StoreFlags): Promise<string> =>
  withExistingStore(flags, async (store) => {
    const stores = { tenants: new Tenants(store), tasks: await TaskStore.open(store) }
    const tasks = await removeTenant(stores, id, terminal())
    return formatted(flags, { id, tasks }, `removed tenant ${id} with its keys and ${tasks} tasks`)
  })

/** @returns only the key, for scripts; with `json` also its terms */
export const createKey = (owner: string, flags: KeyFlags): Promise<string> =>
  withStore(flags, async (store) => {
    const { expires = null, description = null } = flags
    const change = { action: 'key.create', tenant: owner } as const
    const { key, text } = await recordIfUnknown(
      new Keys(store).create(owner, { expires, description }),
      ({ details }) => ({ ...change, object: String(details.key) }),
    )
    record({ ...change, object: key.id, after: key })
    return formatted(flags, { ...key, key: text }, text)
  })

export const listKeys = (owner: string, flags: StoreFlags): Promise<string> =>
  withExistingStore(flags, async (store) => {
    const keys = new Keys(store).list(owner)
    return formatted(flags, keys, keys.length === 0 ? `${owner} has no keys` : table(keys))
  })

export const revokeKey = (owner: string, id: string, flags: StoreFlags): Promise<string> =>
  withExistingStore(flags, async (store) => {
    const change = { action: 'key.revoke', tenant: owner, object: id } as const
    await recordIfUnknown(new Keys(store).revoke(owner, id), () => change)
    record(change)
    return formatted(flags, { owner, id }, `revoked key ${id} of ${owner}`)
  })

/** Opens the store of a data directory. It does not create one, because the directory may be misspelt. */
function withExistingStore<T>(flags: StoreFlags, use: (store: Store) => Promise<T>): Promise<T> {
  if (!existsSync(storePath(flags.dataDir)))
    throw new Problem(
      'invalid_setting',
      `there is no store in ${quoted(flags.dataDir)}; expected the data directory of a server (${flagOf('dataDir')} or ${environmentVariableOf('dataDir')})`,
    )
  return withStore(flags, use)
}

/** Opens the store of a data directory, or creates it. */
async function withStore<T>({ dataDir }: StoreFlags, use: (store: Store) => Promise<T>): Promise<T> {
  rejectMirror(
    `manage the tenants over HTTP at /tenants of a server, with the key in ${environmentVariableOf('operatorKey')}`,
  )
  const isNew = !existsSync(storePath(dataDir))
  const store = LmdbStore.open(dataDir)
  if (isNew) console.error(`propetl: created a new store in ${quoted(dataDir)}`)
  try {
    return await use(store)
  } finally {
    await store.close()
  }
}

/** The actor of the audit trail, which goes to standard error: the user of this terminal. */
function terminal(): Remover {
  const logger = pino({ timestamp: pino.stdTimeFunctions.isoTime }, pino.destination({ fd: 2, sync: true }))
  return { actor: `terminal/${userInfo().username}`, logger }
}

function record(change: Change): void {
  const { actor, logger } = terminal()
  audit(logger, actor, change)
}

function recordIfUnknown<T>(change: Promise<T>, tried: (problem: Problem) => Change): Promise<T> {
  const { actor, logger } = terminal()
  return auditIfUnknown(logger, actor, change, tried)
}

const definedLimits = (flags: TenantFlags): Partial<Limits> =>
  Object.fromEntries(
    limitNames.flatMap((name) =>
      flags[name] === undefined ? [] : [[name, flags[name] === 'none' ? null : flags[name]]],
    ),
  )

function tenantRow(tenants: Tenants, { id, created, share, limits }: Tenant) {
  const { tasks, bytes, examples } = tenants.usage(id)
  const of = (used: number, limit: number | null) => (limit === null ? `${used}` : `${used} of ${limit}`)
  return {
    id,
    tasks: of(tasks, limits.tasks),
    bytes: of(bytes, limits.bytes),
    examples: of(examples, limits.examples),
    'requests/s': limits.requestsPerSecond,
    'tokens/s': limits.tokensPerSecond,
    share,
    created,
  }
}

const formatted = (flags: StoreFlags, facts: unknown, text: string): string =>
  flags.json ? JSON.stringify(facts, null, 2) : text

/** Formats objects as a table with a header. */
function table(rows: readonly object[]): string {
  const names = Object.keys(rows[0] ?? {})
  const cells = [names, ...rows.map((row) => Object.values(row).map((value) => String(value ?? '–')))]
  const widths = names.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)))
  return cells
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
