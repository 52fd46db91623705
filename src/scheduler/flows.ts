// The data of the queue. A flow, in the sense of fair queueing, is a stream of rows that shares a resource with others: a
// tenant is a flow among tenants, and a task is a flow among its tenant's tasks. A task keeps its rows by length and
// deadline, and a tenant keeps the rows of all its tasks by age.

import type { IndexedHeap, Placed } from './indexed-heap.js'
import type { Flow, Turns } from './turns.js'

/** What the scheduler needs to know about a row. */
export interface SchedulableRow {
  readonly tenant: string
  /** The tenant's share of the engines, relative to other tenants. */
  readonly weight: number
  readonly task: string
  /** The mask that the row needs. A batch holds a bounded number of different masks. */
  readonly maskKey: string
  readonly tokens: number
  /** What fair queueing charges for the row, in token equivalents; at least its tokens. */
  readonly cost: number
  /** In milliseconds of the caller's clock. */
  readonly deadline: number
}

/** Tokens of rows, and what fair queueing charges for them. */
export interface Load {
  readonly tokens: number
  readonly cost: number
}

/** Rows of one length class differ by less than a factor of √2. A batch of one class is less than a third padding. */
export const lengthClassOf = (tokens: number) => Math.floor(2 * Math.log2(Math.max(tokens, 1)))

/** The shortest length of each class up to a million tokens. A power would be computed several times per row. */
const shortestLengths = Array.from({ length: 42 }, (_, lengthClass) => 2 ** (lengthClass / 2))

export const shortestOf = (lengthClass: number) => shortestLengths[lengthClass] ?? Number.POSITIVE_INFINITY

/** A waiting row, in the heap of its task and length class. */
export interface Entry<Row> extends Placed {
  readonly row: Row
  readonly flow: TaskFlow<Row>
  readonly lengthClass: number
  /** Of two rows with the same deadline, the one with the lower number goes first. */
  readonly order: number
}

/** A waiting row, in the heap of its tenant and length class; see age.ts. */
export interface AgeEntry<Row> extends Placed {
  readonly entry: Entry<Row>
  /** The row is overdue once its tenant was served this cost. */
  readonly due: number
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
  /** By length class: its rows by the time at which they become overdue. */
  readonly byAge: (IndexedHeap<AgeEntry<Row>> | undefined)[]
  /** The cost that it was served since it last was without rows. */
  served: number
}

export interface TaskFlow<Row> extends RowFlow {
  readonly tenant: TenantFlow<Row>
  /** By length class: its rows by deadline. */
  readonly byLength: (IndexedHeap<Entry<Row>> | undefined)[]
  /** An upper bound of the deadlines of its rows. */
  latest: number
}

/** The row of a task with the earliest deadline. */
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

/** The load of a task's rows that go before a row with the given deadline. */
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
  byAge: [],
  served: 0,
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
