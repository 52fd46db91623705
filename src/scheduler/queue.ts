// Which rows run next. These are pure decisions over plain data, without clocks or tensors: the caller passes the time.
//
// Tenants share the engine by weight, and the tasks of a tenant share its part evenly (turns.ts). Within a task the row with
// the earliest deadline goes first, so an urgent row overtakes only rows of its own task. The row whose turn it is leads the
// next batch, and rows of about its length fill it. A flow stays out of that batch if its turn is far ahead of the leader's,
// or if it is ahead and has most of the waiting tokens. A tenant that sends little does not wait for the rows of a flood.
// Between the tasks of a tenant, rows that are overdue go first (age.ts).

import { ageEntryOf, byDue, isOverdue, mostOverdue, overdueOfLength } from './age.js'
import { Batch, type BatchLimits, limitsDuringFlood, nextToJoin, taskTokensOf } from './batch.js'
import {
  type AgeEntry,
  byDeadline,
  type Entry,
  earliest,
  earliestOfLength,
  type Load,
  lengthClassOf,
  loadBefore,
  newTask,
  newTenant,
  type SchedulableRow,
  shortestOf,
  type TaskFlow,
  type TenantFlow,
} from './flows.js'
import { IndexedHeap, type Placed } from './indexed-heap.js'
import { IdleFlows, Turns } from './turns.js'

/** Most flows without rows whose turns are remembered, because they were served more than others. */
const maxIdleTenants = 1_000
const maxIdleTasks = 10_000

export interface Decision<Row> {
  readonly batch: readonly Row[]
  /** Rows that can no longer meet their deadline. */
  readonly late: readonly Row[]
}

/** A waiting row, in the heap of all rows by deadline. */
interface DeadlineEntry<Row> extends Placed {
  readonly entry: Entry<Row>
  readonly age: AgeEntry<Row>
}

export class RowQueue<Row extends SchedulableRow> {
  readonly #idleTasks = new IdleFlows<TaskFlow<Row>>(maxIdleTasks)
  readonly #tenants = new Turns<TenantFlow<Row>>(new IdleFlows(maxIdleTenants), ({ tasks }) => tasks.forgetIdle())
  readonly #rows = new Map<Row, DeadlineEntry<Row>>()
  readonly #deadlines = new IndexedHeap<DeadlineEntry<Row>>((a, b) => byDeadline(a.entry, b.entry))
  #tokens = 0
  #tasks = 0
  #order = 0
  /** The tenant that most recently had more than half of the waiting tokens. */
  #flooding: TenantFlow<Row> | undefined

  constructor(readonly limits: Pick<BatchLimits, 'maxTokens'>) {}

  /** Number of waiting rows. */
  get size(): number {
    return this.#rows.size
  }

  /** Tokens of the waiting rows. */
  get tokens(): number {
    return this.#tokens
  }

  /** Number of tasks with waiting rows. */
  get tasks(): number {
    return this.#tasks
  }

  /** The limits of a batch that is formed now. They are stricter while a tenant floods. */
  limitsNow(limits: BatchLimits): BatchLimits {
    return this.#floodingBeyond(limits) ? limitsDuringFlood(limits) : limits
  }

  /** The row that has waited longest. */
  get oldest(): Row | undefined {
    return this.#rows.keys().next().value
  }

  /** The earliest deadline of the waiting rows; infinity if there are none. */
  get earliestDeadline(): number {
    return this.#mostUrgent?.deadline ?? Number.POSITIVE_INFINITY
  }

  /** Number of waiting rows of a tenant, and of one of its tasks. */
  rowsOf(tenant: string, task: string): { readonly tenant: number; readonly task: number } {
    const flow = this.#tenants.flows.get(tenant)
    return { tenant: flow?.rows ?? 0, task: flow?.tasks.flows.get(task)?.rows ?? 0 }
  }

  /** The waiting rows and tokens of a tenant, and the share of the engines that it gets now. */
  backlogOf(
    tenant: string,
    weight: number,
  ): { readonly rows: number; readonly tokens: number; readonly share: number } {
    const flow = this.#tenants.flows.get(tenant)
    return { rows: flow?.rows ?? 0, tokens: flow?.tokens ?? 0, share: this.#tenants.shareOf(flow, weight) }
  }

  add(row: Row): void {
    const lengthClass = lengthClassOf(row.tokens)
    const tenant =
      this.#tenants.flows.get(row.tenant) ??
      newTenant(row.tenant, row.weight, new Turns<TaskFlow<Row>>(this.#idleTasks))
    const flow = tenant.tasks.flows.get(row.task) ?? newTask(row.task, tenant)
    this.#tenants.enter(tenant, lengthClass, row.weight)
    tenant.tasks.enter(flow, lengthClass, 1)
    flow.latest = flow.rows === 0 ? row.deadline : Math.max(flow.latest, row.deadline)
    const entry = { row, flow, lengthClass, order: this.#order++, position: -1 }
    flow.byLength[lengthClass] ??= new IndexedHeap<Entry<Row>>(byDeadline)
    flow.byLength[lengthClass].push(entry)
    this.#count(entry, 1)
    const age = ageEntryOf(entry, this.limits)
    tenant.byAge[lengthClass] ??= new IndexedHeap<AgeEntry<Row>>(byDue)
    tenant.byAge[lengthClass].push(age)
    const deadline = { entry, age, position: -1 }
    this.#deadlines.push(deadline)
    this.#rows.set(row, deadline)
  }

  /** Removes a row. @returns false if it does not wait */
  remove(row: Row): boolean {
    return this.#take(row)
  }

  /** Removes and returns the rows whose deadline has passed. */
  takeExpired(now: number): Row[] {
    return this.#takeWhile(({ deadline }) => deadline <= now)
  }

  /**
   * Removes and returns the next batch, which an overdue row leads, or the row whose turn it is.
   * @param endsAt when a batch that is sent now would end: rows with an earlier deadline are late
   */
  next(endsAt: number, limits: BatchLimits): Decision<Row> {
    const late = this.#takeWhile(({ deadline }) => deadline < endsAt)
    const leader = this.#leader(limits.maxLeaderTokens ?? Number.POSITIVE_INFINITY)
    return { batch: leader ? this.#fill(leader, limits) : [], late }
  }

  /** An overdue row of the tenant whose turn it is, or the row whose turn it is, with at most `maxTokens` tokens. */
  #leader(maxTokens: number): Entry<Row> | undefined {
    const tenant = this.#tenants.lead()
    const flow = tenant?.tasks.lead()
    const leader = (tenant && mostOverdue(tenant)) ?? (flow && earliest(flow))
    return leader === undefined || leader.row.tokens <= maxTokens ? leader : this.#shortLeader(maxTokens)
  }

  #shortLeader(maxTokens: number): Entry<Row> | undefined {
    let lengthClass = 0
    let first: Entry<Row> | undefined
    // The class that contains the bound may have longer rows, so none of its rows leads.
    for (; shortestOf(lengthClass + 1) <= maxTokens; lengthClass++) {
      const flow = this.#tenants.firstOf(lengthClass)?.tasks.firstOf(lengthClass)
      const entry = flow && earliestOfLength(flow, lengthClass)
      if (entry && (first === undefined || isBefore(entry, first))) first = entry
    }
    return first
  }

  /**
   * Tokens that the engine would compute until new rows are computed, including the new rows. Rows of the same task count if
   * their deadline is earlier. Other flows count with what they would be served before the turn of the new rows.
   * @param newRows the load of the new rows by task
   */
  tokensUntilServed(
    { tenant: id, weight }: Pick<SchedulableRow, 'tenant' | 'weight'>,
    newRows: ReadonlyMap<string, Load>,
    deadline: number,
  ): number {
    const tenant = this.#tenants.flows.get(id)
    let own: Load = { tokens: 0, cost: 0 }
    let turn = 0
    for (const [task, load] of newRows) {
      const flow = tenant?.tasks.flows.get(task)
      const served = sumOf(load, flow ? loadBefore(flow, deadline) : nothing)
      own = sumOf(own, served)
      turn = Math.max(turn, (tenant?.tasks.turnOf(flow) ?? 0) + served.cost)
    }
    own = sumOf(own, tenant?.tasks.loadUntil(turn, (flow) => newRows.has(flow.id)) ?? nothing)
    const tenantTurn = this.#tenants.turnOf(tenant) + own.cost / weight
    return own.tokens + this.#tenants.loadUntil(tenantTurn, (flow) => flow === tenant).tokens
  }

  #fill(leader: Entry<Row>, limits: BatchLimits): Row[] {
    const flooding = this.#floodingBeyond(limits)
    const batch = new Batch(leader, this.limitsNow(limits))
    this.#serve(leader)
    for (const lengthClass of outwards(leader.lengthClass)) {
      if (!batch.mayAccept(lengthClass)) continue
      for (
        let entry = this.#candidate(batch, lengthClass, flooding);
        entry !== undefined && batch.accepts(entry);
        entry = this.#candidate(batch, lengthClass, flooding)
      ) {
        batch.add(entry)
        this.#serve(entry)
      }
    }
    return batch.entries.map(({ row }) => row)
  }

  /**
   * A row of a length class that may join the batch: an overdue one, or the one whose turn is next.
   * @param flooding a tenant whose rows may not join another tenant's batch, which would become longer
   */
  #candidate(batch: Batch<Row>, lengthClass: number, flooding: TenantFlow<Row> | undefined): Entry<Row> | undefined {
    if (batch.masksAreFull) return batch.next(lengthClass)
    const tenant = nextToJoin(this.#tenants, batch.tenant, lengthClass, this.#tokens + batch.tokens)
    if (tenant === undefined || (tenant === flooding && tenant !== batch.tenant.flow)) return undefined
    const overdue = overdueOfLength(tenant, lengthClass)
    if (overdue !== undefined && batch.accepts(overdue)) return overdue
    const flow =
      tenant === batch.tenant.flow
        ? nextToJoin(tenant.tasks, batch.task, lengthClass, tenant.tokens + batch.tokens)
        : tenant.tasks.firstOf(lengthClass)
    return flow && earliestOfLength(flow, lengthClass)
  }

  /**
   * The tenant that floods: it has most of the waiting tokens, and more than one batch of them. Undefined if there is none,
   * or if the limits have no floodTokens.
   */
  #floodingBeyond(limits: BatchLimits): TenantFlow<Row> | undefined {
    const { tokens = 0 } = this.#flooding ?? {}
    const floods = limits.floodTokens !== undefined && tokens > taskTokensOf(limits) && 2 * tokens > this.#tokens
    return floods ? this.#flooding : undefined
  }

  get #mostUrgent(): Row | undefined {
    return this.#deadlines.peek()?.entry.row
  }

  /** Takes rows by ascending deadline while the condition holds. */
  #takeWhile(condition: (row: Row) => boolean): Row[] {
    const taken: Row[] = []
    for (let row = this.#mostUrgent; row !== undefined && condition(row); row = this.#mostUrgent) {
      this.#take(row)
      taken.push(row)
    }
    return taken
  }

  #serve({ row, flow }: Entry<Row>): void {
    const waiting = this.#rows.get(row)
    if (waiting === undefined) return
    const { tenant } = flow
    tenant.tasks.served(flow, row.cost, isOverdue(waiting.age))
    this.#tenants.served(tenant, row.cost)
    tenant.served += row.cost
    this.#takeEntry(waiting)
  }

  /** Removes a row from the queue and its flows. */
  #take(row: Row): boolean {
    const waiting = this.#rows.get(row)
    if (waiting !== undefined) this.#takeEntry(waiting)
    return waiting !== undefined
  }

  #takeEntry(waiting: DeadlineEntry<Row>): void {
    const { entry, age } = waiting
    const { row, flow, lengthClass } = entry
    this.#rows.delete(row)
    this.#deadlines.remove(waiting)
    flow.byLength[lengthClass]?.remove(entry)
    flow.tenant.byAge[lengthClass]?.remove(age)
    this.#count(entry, -1)
    flow.tenant.tasks.leave(flow, lengthClass)
    this.#tenants.leave(flow.tenant, lengthClass)
  }

  #count({ row, flow, lengthClass }: Entry<Row>, rows: 1 | -1): void {
    this.#tokens += rows * row.tokens
    // A task counts from its first row to its last.
    if (flow.rows === (rows === 1 ? 0 : 1)) this.#tasks += rows
    for (const each of [flow, flow.tenant]) {
      each.rows += rows
      each.tokens += rows * row.tokens
      // Rounding errors of the sums would remain.
      each.cost = each.rows === 0 ? 0 : each.cost + rows * row.cost
      each.rowsOfLength[lengthClass] = (each.rowsOfLength[lengthClass] ?? 0) + rows
    }
    if (flow.rows === 0) flow.byLength.length = 0
    if (flow.tenant.rows === 0) {
      flow.tenant.byAge.length = 0
      flow.tenant.served = 0
    }
    if (this.#tokens === 0) this.#flooding = undefined
    else if (2 * flow.tenant.tokens > this.#tokens) this.#flooding = flow.tenant
  }
}

/** Compares turns: first of the tenants, then of the tasks, then the deadlines. */
function isBefore<Row extends SchedulableRow>(a: Entry<Row>, b: Entry<Row>): boolean {
  if (a.flow.tenant !== b.flow.tenant) return a.flow.tenant.turn < b.flow.tenant.turn
  if (a.flow !== b.flow) return a.flow.turn < b.flow.turn
  return byDeadline(a, b) < 0
}

const nothing: Load = { tokens: 0, cost: 0 }

const sumOf = (a: Load, b: Load): Load => ({ tokens: a.tokens + b.tokens, cost: a.cost + b.cost })

const longestClass = lengthClassOf(2 ** 20)

/** The length class itself and then the others, nearest first. */
function* outwards(lengthClass: number): Iterable<number> {
  yield lengthClass
  for (let distance = 1; distance <= longestClass; distance++) {
    if (distance <= lengthClass) yield lengthClass - distance
    yield lengthClass + distance
  }
}
