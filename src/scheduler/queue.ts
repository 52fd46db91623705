// Which rows run next: pure decisions over plain data. No clock, no timer, no tensor; the caller says what time it is.
//
// Tenants share the engine by weight, and a tenant's tasks share its part evenly (turns.ts). Within a task the earliest
// deadline goes first: whoever is in a hurry overtakes his own rows, and nobody else's. The row that leads fills its
// batch with rows of about its length; a flow that is much ahead of it, or ahead and has most of what waits, stays
// outside, so that who comes seldom does not pay for the rows of who floods.

import { Heap } from 'heap-js'
import { Batch, type BatchLimits, nextBeside } from './batch.js'
import {
  byDeadline,
  type Entry,
  earliest,
  earliestOfLength,
  lengthClassOf,
  newTask,
  newTenant,
  type TenantFlow,
  tokensBefore,
  type Waiting,
} from './flows.js'
import { Turns } from './turns.js'

export interface Decision<Row> {
  readonly batch: readonly Row[]
  /** Rows that cannot be answered in time any more. */
  readonly late: readonly Row[]
}

export class RowQueue<Row extends Waiting> {
  readonly #tenants = new Turns<TenantFlow<Row>>()
  readonly #entries = new Map<Row, Entry<Row>>()
  /** Every row by its deadline, and some that do not wait any more. */
  readonly #deadlines = new Heap<Entry<Row>>(byDeadline)
  #tokens = 0
  #order = 0

  /** Rows that wait. */
  get size(): number {
    return this.#entries.size
  }

  get tokens(): number {
    return this.#tokens
  }

  /** The row that came before all others that wait. */
  get oldest(): Row | undefined {
    return this.#entries.keys().next().value
  }

  /** Rows that wait of a tenant, and of one of its tasks. */
  rowsOf(tenant: string, task: string): { readonly tenant: number; readonly task: number } {
    const flow = this.#tenants.flows.get(tenant)
    return { tenant: flow?.rows ?? 0, task: flow?.tasks.flows.get(task)?.rows ?? 0 }
  }

  add(row: Row): void {
    const lengthClass = lengthClassOf(row.tokens)
    const tenant = this.#tenants.flows.get(row.tenant) ?? newTenant(row.tenant, row.weight)
    const flow = tenant.tasks.flows.get(row.task) ?? newTask(row.task, tenant)
    this.#tenants.enter(tenant, lengthClass, row.weight)
    tenant.tasks.enter(flow, lengthClass, 1)
    flow.latest = flow.rows === 0 ? row.deadline : Math.max(flow.latest, row.deadline)
    const entry = { row, flow, lengthClass, order: this.#order++, waits: true }
    flow.byLength[lengthClass] ??= new Heap<Entry<Row>>(byDeadline)
    flow.byLength[lengthClass].push(entry)
    this.#deadlines.push(entry)
    this.#entries.set(row, entry)
    this.#count(entry, 1)
  }

  /** Takes a row out, if it waits. */
  remove(row: Row): boolean {
    const entry = this.#entries.get(row)
    if (entry) this.#take(entry)
    return entry !== undefined
  }

  /**
   * Takes the next batch, led by the row whose turn it is.
   * @param answeredBy when a batch that is begun now would be answered: rows that must be answered before are late
   */
  next(answeredBy: number, limits: BatchLimits): Decision<Row> {
    const late = this.#takeLate(answeredBy)
    const tenant = this.#tenants.lead()
    const flow = tenant?.tasks.lead()
    const leader = flow && earliest(flow)
    if (leader === undefined) return { batch: [], late }
    return { batch: this.#fill(leader, limits), late }
  }

  /**
   * Tokens that the engine would serve until it has served rows that came now, those rows included: of its own task
   * what has an earlier deadline, of the others what is theirs before the task's turn has come so far.
   * @param asked tokens of the new rows by task
   */
  tokensUntilServed(
    { tenant: id, weight }: Pick<Waiting, 'tenant' | 'weight'>,
    asked: ReadonlyMap<string, number>,
    deadline: number,
  ): number {
    const tenant = this.#tenants.flows.get(id)
    let [own, turn] = [0, 0]
    for (const [task, tokens] of asked) {
      const flow = tenant?.tasks.flows.get(task)
      const served = tokens + (flow ? tokensBefore(flow, deadline) : 0)
      own += served
      turn = Math.max(turn, (tenant?.tasks.turnOf(flow) ?? 0) + served)
    }
    own += tenant?.tasks.tokensUntil(turn, (flow) => asked.has(flow.id)) ?? 0
    const tenantTurn = this.#tenants.turnOf(tenant) + own / weight
    return own + this.#tenants.tokensUntil(tenantTurn, (flow) => flow === tenant)
  }

  #fill(leader: Entry<Row>, limits: BatchLimits): Row[] {
    const batch = new Batch(leader, limits)
    this.#serve(leader)
    for (const lengthClass of outwards(leader.lengthClass)) {
      if (!batch.mayTake(lengthClass)) continue
      for (
        let entry = this.#candidate(batch, lengthClass);
        entry !== undefined && batch.takes(entry);
        entry = this.#candidate(batch, lengthClass)
      ) {
        batch.add(entry)
        this.#serve(entry)
      }
    }
    return batch.entries.map(({ row }) => row)
  }

  /** The row of a length whose turn is next among those that may join. */
  #candidate(batch: Batch<Row>, lengthClass: number): Entry<Row> | undefined {
    if (batch.masksAreFull) return batch.next(lengthClass)
    const tenant = nextBeside(this.#tenants, batch.tenant, lengthClass, this.#tokens + batch.tokens)
    if (tenant === undefined) return undefined
    const flow =
      tenant === batch.tenant.flow
        ? nextBeside(tenant.tasks, batch.task, lengthClass, tenant.tokens + batch.tokens)
        : tenant.tasks.firstOf(lengthClass)
    return flow && earliestOfLength(flow, lengthClass)
  }

  #takeLate(answeredBy: number): Row[] {
    const late: Row[] = []
    for (let first = this.#deadlines.peek(); first !== undefined; first = this.#deadlines.peek()) {
      if (first.waits && first.row.deadline >= answeredBy) break
      this.#deadlines.pop()
      if (!first.waits) continue
      this.#take(first)
      late.push(first.row)
    }
    return late
  }

  #serve(entry: Entry<Row>): void {
    const { row, flow } = entry
    flow.tenant.tasks.served(flow, row.tokens)
    this.#tenants.served(flow.tenant, row.tokens)
    this.#take(entry)
  }

  #take(entry: Entry<Row>): void {
    entry.waits = false
    this.#entries.delete(entry.row)
    this.#count(entry, -1)
    const { flow } = entry
    if (flow.rows === 0) flow.tenant.tasks.leave(flow)
    if (flow.tenant.rows === 0) this.#tenants.leave(flow.tenant)
    // What was taken is left in the heaps until it comes to the front; here it would stay until its deadline.
    if (this.#deadlines.size() > 2 * this.size + 1000)
      this.#deadlines.init(this.#deadlines.toArray().filter(({ waits }) => waits))
  }

  #count({ row, flow, lengthClass }: Entry<Row>, rows: 1 | -1): void {
    this.#tokens += rows * row.tokens
    for (const of of [flow, flow.tenant]) {
      of.rows += rows
      of.tokens += rows * row.tokens
      of.rowsOfLength[lengthClass] = (of.rowsOfLength[lengthClass] ?? 0) + rows
    }
  }
}

const longestClass = lengthClassOf(2 ** 20)

/** A length class and the others, nearest first. */
function* outwards(lengthClass: number): Iterable<number> {
  yield lengthClass
  for (let distance = 1; distance <= longestClass; distance++) {
    if (distance <= lengthClass) yield lengthClass - distance
    yield lengthClass + distance
  }
}
