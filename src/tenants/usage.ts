// What each owner has stored, as counters that change in the transaction of the tasks themselves: a quota is checked in
// the time of one look-up, and no two uploads can exceed it together.

import type { Owner } from '../owner.js'
import { Problem } from '../problem.js'
import type { StoreReader, StoreWriter } from '../store/store.js'
import { defaults, type Limits, operator, readSameTenant, type TaskOwner, unknownTenant } from './tenant.js'

export interface Usage {
  readonly tasks: number
  /** Of its task files together. */
  readonly bytes: number
}

export function usageOf(records: StoreReader, owner: Owner): Usage {
  const bytes = records.get('usage', owner)
  return bytes ? (JSON.parse(bytes.toString()) as Usage) : { tasks: 0, bytes: 0 }
}

/**
 * What an owner may store.
 * @throws Problem `unknown_tenant` if the tenant is leaving or gone, even if another one has its id
 */
export function limitsOf(records: StoreReader, owner: TaskOwner): Limits {
  if (owner === operator) return defaults.limits
  const tenant = readSameTenant(records, owner)
  if (tenant === undefined) throw unknownTenant(owner.id)
  return tenant.limits
}

/**
 * Adds a change to an owner's counters; what it removes is negative.
 * @throws Problem `quota_exceeded` if it grows beyond a limit; nothing is written then
 */
export function charge(records: StoreWriter, owner: Owner, limits: Limits, change: Usage): void {
  setUsage(records, owner, usageAfter(records, owner, limits, change))
}

/**
 * What an owner would have stored after a change.
 * @throws Problem `quota_exceeded` if it grows beyond a limit
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
          ? `tenant "${owner}" has ${tasks} tasks; at most ${limit} are allowed`
          : `tenant "${owner}" would store ${usage.bytes} bytes; at most ${limit} are allowed`,
        { quota: what, used: what === 'tasks' ? tasks : bytes, limit },
      )
  }
  return usage
}

export function setUsage(records: StoreWriter, owner: Owner, usage: Usage): void {
  records.put('usage', owner, Buffer.from(JSON.stringify(usage)))
}

export const removeUsage = (records: StoreWriter, owner: Owner): void => records.remove('usage', owner)
