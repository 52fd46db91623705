// Service by age: a row that has waited much longer than it should is overdue, and goes before the rows whose turn it is. Fair
// queueing gives each task of a tenant the same number of tokens, so without this rule the clients of tasks with long texts
// wait far longest, also at even load.
//
// Waits are counted in the cost that the tenant was served since the row arrived. Other tenants and the speed of the engines
// therefore do not matter. In order of arrival, a row would wait for everything that its tenant had waiting. A flood must not
// gain from this rule, so a row waits for a bounded number of rows of each other task, and a task with very many waiting rows
// gets a bounded number of batches in the time in which the others are served once.

import type { BatchLimits } from './batch.js'
import type { AgeEntry, Entry, TenantFlow } from './flows.js'

/** A row is overdue after this multiple of the wait that it should have. */
const patience = 1.5
/** How many rows of each task a row waits for, for each waiting row of its own task. */
const rowsPerRow = 2
/** How many of the largest batches a task gets in a round. Its other rows become overdue in later rounds. */
const batchesPerRound = 6

/** A row that has just been added to its flows, with the time at which it becomes overdue. */
export function ageEntryOf<Row>(entry: Entry<Row>, { maxTokens }: Pick<BatchLimits, 'maxTokens'>): AgeEntry<Row> {
  const { flow } = entry
  const { tenant } = flow
  const share = Math.min(1, (rowsPerRow * flow.rows * tenant.tasks.waiting) / tenant.rows)
  const rounds = Math.max(1, flow.cost / (batchesPerRound * maxTokens))
  const wait = Math.max(maxTokens, patience * tenant.cost * share * rounds)
  return { entry, due: tenant.served + wait, position: -1 }
}

export const byDue = <Row>(a: AgeEntry<Row>, b: AgeEntry<Row>) => a.due - b.due || a.entry.order - b.entry.order

export const isOverdue = <Row>({ entry, due }: AgeEntry<Row>): boolean => due <= entry.flow.tenant.served

/** The row of a length class that is overdue longest. */
export function overdueOfLength<Row>(tenant: TenantFlow<Row>, lengthClass: number): Entry<Row> | undefined {
  const first = tenant.byAge[lengthClass]?.peek()
  return first && isOverdue(first) ? first.entry : undefined
}

/** The row of a tenant that is overdue longest. */
export function mostOverdue<Row>(tenant: TenantFlow<Row>): Entry<Row> | undefined {
  let first: AgeEntry<Row> | undefined
  for (const heap of tenant.byAge) {
    const each = heap?.peek()
    if (each && (first === undefined || byDue(each, first) < 0)) first = each
  }
  return first && isOverdue(first) ? first.entry : undefined
}
