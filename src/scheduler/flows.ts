// What waits, as the queue keeps it: rows of tasks of tenants, by length and deadline.

import type { Heap } from 'heap-js'
import { type Flow, Turns } from './turns.js'

export interface Waiting {
  /** Tenants share by weight; a row brings its tenant's. */
  readonly tenant: string
  readonly weight: number
  readonly task: string
  /** Which mask the row needs; a batch holds a bounded number of different ones. */
  readonly maskKey: string
  readonly tokens: number
  /** In the caller's clock, milliseconds: when the answer must be there. */
  readonly deadline: number
}

/** Rows of one class differ in length by less than a factor of √2, so that alone they are padded by less than a third. */
export const lengthClassOf = (tokens: number) => Math.floor(2 * Math.log2(Math.max(tokens, 1)))

export const shortestOf = (lengthClass: number) => 2 ** (lengthClass / 2)

export interface Entry<Row> {
  readonly row: Row
  readonly flow: TaskFlow<Row>
  readonly lengthClass: number
  /** Of two rows with one deadline the older goes first. */
  readonly order: number
  waits: boolean
}

export const byDeadline = <Row extends Waiting>(a: Entry<Row>, b: Entry<Row>) =>
  a.row.deadline - b.row.deadline || a.order - b.order

export interface TenantFlow<Row> extends Flow {
  rows: number
  tokens: number
  readonly rowsOfLength: number[]
  readonly tasks: Turns<TaskFlow<Row>>
}

export interface TaskFlow<Row> extends Flow {
  rows: number
  tokens: number
  readonly rowsOfLength: number[]
  readonly tenant: TenantFlow<Row>
  readonly byLength: (Heap<Entry<Row>> | undefined)[]
  /** No row has a later deadline. */
  latest: number
}

/** The row of a task that must be answered first. */
export function earliest<Row extends Waiting>(flow: TaskFlow<Row>): Entry<Row> | undefined {
  let first: Entry<Row> | undefined
  flow.byLength.forEach((_, lengthClass) => {
    const entry = earliestOfLength(flow, lengthClass)
    if (entry && (first === undefined || byDeadline(entry, first) < 0)) first = entry
  })
  return first
}

export function earliestOfLength<Row>(flow: TaskFlow<Row>, lengthClass: number): Entry<Row> | undefined {
  const heap = flow.byLength[lengthClass]
  let first = heap?.peek()
  while (first !== undefined && !first.waits) {
    heap?.pop()
    first = heap?.peek()
  }
  return first
}

/** Tokens of a task's rows that go before one with a deadline. */
export function tokensBefore<Row extends Waiting>(flow: TaskFlow<Row>, deadline: number): number {
  if (deadline >= flow.latest) return flow.tokens
  let tokens = 0
  for (const heap of flow.byLength)
    for (const { waits, row } of heap?.toArray() ?? []) if (waits && row.deadline <= deadline) tokens += row.tokens
  return tokens
}

export const newTenant = <Row>(id: string, weight: number): TenantFlow<Row> => ({
  id,
  weight,
  turn: 0,
  rows: 0,
  tokens: 0,
  rowsOfLength: [],
  tasks: new Turns(),
})

export const newTask = <Row>(id: string, tenant: TenantFlow<Row>): TaskFlow<Row> => ({
  id,
  weight: 1,
  turn: 0,
  rows: 0,
  tokens: 0,
  rowsOfLength: [],
  tenant,
  byLength: [],
  latest: 0,
})
