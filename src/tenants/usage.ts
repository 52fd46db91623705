// What each owner has stored. The counters change in the same transaction as the records, so that a quota check is one
// read and concurrent uploads cannot exceed the quota together.

import type { Owner } from '../owner.js'
import { Problem } from '../problem.js'
import type { StoreReader, StoreWriter } from '../store/store.js'
import { defaults, type Limits, operator, readSameTenant, type TaskOwner, unknownTenant } from './tenant.js'

export interface Usage {
  /** A task without a version that has examples counts, too. */
  readonly tasks: number
  /** Of all task files and examples together. */
  readonly bytes: number
  readonly examples: number
}

/** What a change adds to the counters. Removals are negative. */
export type UsageChange = Partial<Usage>

export const noUsage: Usage = { tasks: 0, bytes: 0, examples: 0 }

export function usageOf(records: StoreReader, owner: Owner): Usage {
  const bytes = records.get('usage', owner)
  // Records of earlier versions of the program have no examples.
  return bytes ? { ...noUsage, ...(JSON.parse(bytes.toString()) as Partial<Usage>) } : noUsage
}

/**
 * The limits of an owner.
 * @throws Problem `unknown_tenant` if the tenant is being removed or gone, even if a later tenant has its id
 */
export function limitsOf(records: StoreReader, owner: TaskOwner): Limits {
  if (owner === operator) return defaults.limits
  const tenant = readSameTenant(records, owner)
  if (tenant === undefined) throw unknownTenant(owner.id)
  return tenant.limits
}

/**
 * Adds a change to an owner's counters.
 * @throws Problem `quota_exceeded` if a counter grows beyond its limit; nothing is written then
 */
export function charge(records: StoreWriter, owner: Owner, limits: Limits, change: UsageChange): void {
  setUsage(records, owner, usageAfter(records, owner, limits, change))
}

/**
 * An owner's counters after a change.
 * @throws Problem `quota_exceeded` if a counter grows beyond its limit
 */
export function usageAfter(
  records: StoreReader,
  owner: Owner,
  limits: Limits,
  { tasks = 0, bytes = 0, examples = 0 }: UsageChange,
): Usage {
  const change: Usage = { tasks, bytes, examples }
  const before = usageOf(records, owner)
  const usage: Usage = {
    tasks: before.tasks + tasks,
    bytes: before.bytes + bytes,
    examples: before.examples + examples,
  }
  for (const quota of quotas) {
    const limit = limits[quota]
    if (limit !== null && change[quota] > 0 && usage[quota] > limit)
      throw new Problem(
        'quota_exceeded',
        quota === 'tasks'
          ? `tenant "${owner}" has ${before.tasks} tasks; its limit is ${limit}`
          : `tenant "${owner}" would store ${usage[quota]} ${quota}; its limit is ${limit}`,
        { quota, used: before[quota], limit },
      )
  }
  return usage
}

const quotas = ['tasks', 'bytes', 'examples'] as const

export function setUsage(records: StoreWriter, owner: Owner, usage: Usage): void {
  records.put('usage', owner, Buffer.from(JSON.stringify(usage)))
}

export const removeUsage = (records: StoreWriter, owner: Owner): void => records.remove('usage', owner)
