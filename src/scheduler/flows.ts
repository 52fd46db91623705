// What waits, as the queue keeps it: rows of tasks of tenants, by length and deadline.

import type { IndexedHeap, Placed } from './indexed-heap.js'
import type { Flow, Turns } from './turns.js'

export interface SchedulableRow {
  readonly tenant: string
  /** The tenant's share of the engines, relative to that of other tenants. */
  readonly weight: number
  readonly task: string
  /** Which mask the row needs; a batch holds a bounded number of different ones. */
  readonly maskKey: string
  readonly tokens: number
  /** What the row is charged when turns are counted, in token equivalents: at least its tokens. */
  readonly cost: number
  /** When the answer must be there, in milliseconds of the caller's clock. */
  readonly deadline: number
}

/** Tokens of rows, and what these rows are charged. */
export interface Load {
  readonly tokens: number
  readonly cost: number
}

/** Rows of one class differ in length by less than a factor of √2, so that alone they are padded by less than a third. */
export const lengthClassOf = (tokens: number) => Math.floor(2 * Math.log2(Math.max(tokens, 1)))

export const shortestOf = (lengthClass: number) => 2 ** (lengthClass / 2)

/** A row among those of its task that have about its length. */
export interface Entry<Row> extends Placed {
  readonly row: Row
  readonly flow: TaskFlow<Row>
  readonly lengthClass: number
  /** Of two rows with the same deadline the older one goes first. */
  readonly order: number
}

export const byDeadline = <Row extends SchedulableRow>(a: Entry<Row>, b: Entry<Row>) =>
  a.row.deadline - b.row.deadline || a.order - b.order

interface RowFlow extends Flow {
  rows: number
  tokens: number
  cost: number
  readonly rowsOfLength: number[]
}

export interface TenantFlow<Row> extends RowFlow {
  readonly tasks: Turns<TaskFlow<Row>>
}

export interface TaskFlow<Row> extends RowFlow {
  readonly tenant: TenantFlow<Row>
  /** The task's rows of each length class, by deadline. */
  readonly byLength: (IndexedHeap<Entry<Row>> | undefined)[]
  /** No row has a later deadline. */
  latest: number
}

/** The row of a task that has the earliest deadline. */
export function earliest<Row extends SchedulableRow>(flow: TaskFlow<Row>): Entry<Row> | undefined {
  let first: Entry<Row> | undefined
  for (const heap of flow.byLength) {
    const entry = heap?.peek()
    if (entry && (first === undefined || byDeadline(entry, first) < 0)) first = entry
  }
  return first
}

export const earliestOfLength = <Row>(flow: TaskFlow<Row>, lengthClass: number): Entry<Row> | undefined =>
  flow.byLength[lengthClass]?.peek()

/** The rows of a task that go before one with the given deadline. */
export function loadBefore<Row extends SchedulableRow>(flow: TaskFlow<Row>, deadline: number): Load {
  if (deadline >= flow.latest) return flow
  let [tokens, cost] = [0, 0]
  for (const heap of flow.byLength)
    for (const { row } of heap ?? []) {
      if (row.deadline > deadline) continue
      tokens += row.tokens
      cost += row.cost
    }
  return { tokens, cost }
}

export const newTenant = <Row>(id: string, weight: number, tasks: Turns<TaskFlow<Row>>): TenantFlow<Row> => ({
  id,
  weight,
  turn: 0,
  rows: 0,
  tokens: 0,
  cost: 0,
  rowsOfLength: [],
  tasks,
})

export const newTask = <Row>(id: string, tenant: TenantFlow<Row>): TaskFlow<Row> => ({
  id,
  weight: 1,
  turn: 0,
  rows: 0,
  tokens: 0,
  cost: 0,
  rowsOfLength: [],
  tenant,
  byLength: [],
  latest: 0,
})
