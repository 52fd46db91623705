// What each owner has stored, as counters that change in the transaction of the tasks themselves: a quota is checked in
// the time of one look-up, and no two uploads can pass it together.

import { Problem } from '../problem.js'
import type { StoreReader, StoreWriter } from '../store/store.js'
import { type Owner, operator, readTenant, unknownTenant } from './tenant.js'

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
 * Adds what a change brings to an owner's counters; what it takes away is negative.
 * @throws Problem `quota_exceeded` if it grows beyond a limit, `unknown_tenant` if it grows and there is no such tenant
 *   any more; nothing is written then
 */
export function charge(records: StoreWriter, owner: Owner, change: Usage): void {
  const { tasks, bytes } = usageOf(records, owner)
  const usage = { tasks: tasks + change.tasks, bytes: bytes + change.bytes }
  if (owner !== operator && (change.tasks > 0 || change.bytes > 0)) {
    const tenant = readTenant(records, owner)
    if (tenant === undefined) throw unknownTenant(owner)
    for (const what of ['tasks', 'bytes'] as const) {
      const limit = tenant.limits[what]
      if (limit !== null && change[what] > 0 && usage[what] > limit)
        throw new Problem(
          'quota_exceeded',
          what === 'tasks'
            ? `tenant "${owner}" has ${tasks} tasks; at most ${limit} are allowed`
            : `tenant "${owner}" would store ${usage.bytes} bytes; at most ${limit} are allowed`,
          { quota: what, used: what === 'tasks' ? tasks : bytes, limit },
        )
    }
  }
  setUsage(records, owner, usage)
}

export function setUsage(records: StoreWriter, owner: Owner, usage: Usage): void {
  records.put('usage', owner, Buffer.from(JSON.stringify(usage)))
}

export const removeUsage = (records: StoreWriter, owner: Owner): void => records.remove('usage', owner)
