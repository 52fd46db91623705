// What each owner has stored. The counters change in the same transaction as the tasks, so that a quota check is one
// read and concurrent uploads cannot exceed the quota together.

import type { Owner } from '../owner.js'
import { Problem } from '../problem.js'
import type { StoreReader, StoreWriter } from '../store/store.js'
import { defaults, type Limits, operator, readSameTenant, type TaskOwner, unknownTenant } from './tenant.js'

export interface Usage {
  readonly tasks: number
  /** Of all task files together. */
  readonly bytes: number
}

export function usageOf(records: StoreReader, owner: Owner): Usage {
  const bytes = records.get('usage', owner)
  return bytes ? (JSON.parse(bytes.toString()) as Usage) : { tasks: 0, bytes: 0 }
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
 * Adds a change to an owner's counters. Removals are negative.
 * @throws Problem `quota_exceeded` if a counter grows beyond its limit; nothing is written then
 */
export function charge(records: StoreWriter, owner: Owner, limits: Limits, change: Usage): void {
  setUsage(records, owner, usageAfter(records, owner, limits, change))
}

/**
 * An owner's counters after a change.
 * @throws Problem `quota_exceeded` if a counter grows beyond its limit
 */
export function usageAfter(records: StoreReader, owner: Owner, limits: Limits, change: Usage): Usage {
  const { tasks, bytes } = usageOf(records, owner)
  const usage = { tasks: tasks + change.tasks, bytes: bytes + change.bytes }
  for (const what of ['tasks', 'bytes'] as const) {
    const limit = limits[what]
    if (limit !== null && change[what] > 0 && usage[what] > limit)
      throw new Problem(
        'quota_exceeded',
        what === 'tasks'
          ? `tenant "${owner}" has ${tasks} tasks; its limit is ${limit}`
          : `tenant "${owner}" would store ${usage.bytes} bytes; its limit is ${limit}`,
        { quota: what, used: what === 'tasks' ? tasks : bytes, limit },
      )
  }
  return usage
}

export function setUsage(records: StoreWriter, owner: Owner, usage: Usage): void {
  records.put('usage', owner, Buffer.from(JSON.stringify(usage)))
}

export const removeUsage = (records: StoreWriter, owner: Owner): void => records.remove('usage', owner)
