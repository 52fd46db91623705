// Fills a data directory with tasks: versions of bundled tasks, each under its own id.

import { digestOf } from '../../src/formats/digest.js'
import { LmdbStore } from '../../src/store/lmdb.js'
import { TaskStore } from '../../src/tasks/store.js'
import { operator } from '../../src/tenants/tenant.js'
import type { Log } from './figures.js'
import { taskFileBytes, withShiftedBias } from './material.js'

export const taskId = (index: number) => `task-${String(index).padStart(6, '0')}`

const batchTasks = 2_000

/**
 * Registers `count` tasks. Task i is bundled task i mod N with i / 1000 added to its logits, so that no two files are
 * equal.
 */
export async function registerTasks(
  directory: string,
  count: number,
  bundled: readonly string[],
  log: Log,
): Promise<void> {
  const store = LmdbStore.open(directory)
  const tasks = await TaskStore.open(store)
  const files = bundled.map((task) => taskFileBytes(task))
  for (let first = 0; first < count; first += batchTasks) {
    const batch = Array.from({ length: Math.min(batchTasks, count - first) }, (_, i) => first + i)
    await Promise.all(
      batch.map((index) => {
        const bytes = withShiftedBias(files[index % files.length] ?? new Uint8Array(), index / 1_000)
        return tasks.put(operator, taskId(index), digestOf(bytes), bytes, () => {})
      }),
    )
    if (first % 20_000 === 0 && first > 0) log(`registered ${first} of ${count} tasks`)
  }
  await store.close()
}
