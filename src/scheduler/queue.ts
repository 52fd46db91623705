// Which rows run next: pure decisions over plain data. No clock, no timer, no tensor; the caller says what time it is.
//
// Tenants share the engine by weight, and a tenant's tasks share its part evenly (turns.ts). Within a task the earliest
// deadline goes first: whoever is in a hurry overtakes his own rows, and nobody else's. The row that leads fills its
// batch with rows of about its length; a flow that is ahead of it by much waits outside, so that who comes seldom does
// not pay for the rows of who floods.

import { Heap } from 'heap-js'
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

export interface BatchLimits {
  /** Tokens of a batch; a single longer row still runs, alone. */
  readonly maxTokens: number
  /**
   * Of them for each task that the batch serves, where that is less: what takes long should answer many. Between two
   * batches of one that floods another need not wait for long.
   */
  readonly taskTokens?: number
  /** Different masks in a batch. */
  readonly maxMasks: number
}

export interface Decision<Row> {
  readonly batch: readonly Row[]
  /** Rows that cannot be answered in time any more. */
  readonly late: readonly Row[]
}

/** Attention pads the rows of a batch to its longest. A row joins while at most half of those places are padding. */
const maxPlacesPerToken = 2

/** Rows of one class differ in length by less than a factor of √2, so that alone they are padded by less than a third. */
const lengthClassOf = (tokens: number) => Math.floor(2 * Math.log2(Math.max(tokens, 1)))

const shortestOf = (lengthClass: number) => 2 ** (lengthClass / 2)

interface Entry<Row> {
  readonly row: Row
  readonly flow: TaskFlow<Row>
  readonly lengthClass: number
  /** Of two rows with one deadline the older goes first. */
  readonly order: number
  waits: boolean
}

const byDeadline = <Row extends Waiting>(a: Entry<Row>, b: Entry<Row>) =>
  a.row.deadline - b.row.deadline || a.order - b.order

interface TenantFlow<Row> extends Flow {
  weight: number
  rows: number
  tokens: number
  readonly rowsOfLength: number[]
  readonly tasks: Turns<TaskFlow<Row>>
}

interface TaskFlow<Row> extends Flow {
  rows: number
  tokens: number
  readonly rowsOfLength: number[]
  readonly tenant: TenantFlow<Row>
  readonly byLength: (Heap<Entry<Row>> | undefined)[]
  /** No row has a later deadline. */
  latest: number
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
    tenant.weight = row.weight
    this.#tenants.enter(tenant, lengthClass)
    tenant.tasks.enter(flow, lengthClass)
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
    const tenant = nextBeside(this.#tenants, batch.tenant, lengthClass)
    if (tenant === undefined) return undefined
    const flow =
      tenant === batch.tenant.flow
        ? nextBeside(tenant.tasks, batch.task, lengthClass)
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
    this.#take(entry)
    flow.turn += row.tokens
    flow.tenant.turn += row.tokens / flow.tenant.weight
  }

  #take(entry: Entry<Row>): void {
    entry.waits = false
    this.#entries.delete(entry.row)
    this.#count(entry, -1)
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

/** The flow that leads a batch, and the turn up to which another one is not ahead of it. */
interface Lead<F> {
  readonly flow: F
  readonly until: number
}

/** A batch while it is put together. */
class Batch<Row extends Waiting> {
  readonly entries: Entry<Row>[]
  readonly tenant: Lead<TenantFlow<Row>>
  readonly task: Lead<TaskFlow<Row>>
  readonly #flows: Set<TaskFlow<Row>>
  readonly #masks: Set<string>
  #tokens: number
  #longest: number

  constructor(
    leader: Entry<Row>,
    readonly limits: BatchLimits,
  ) {
    const { flow, row } = leader
    // Flows that always wait are apart by what one row is, or a few; one that is half a batch ahead floods.
    const ahead = (limits.taskTokens ?? limits.maxTokens) / 2
    this.entries = [leader]
    this.task = { flow, until: flow.turn + ahead }
    this.tenant = { flow: flow.tenant, until: flow.tenant.turn + ahead / flow.tenant.weight }
    this.#flows = new Set([flow])
    this.#masks = new Set([row.maskKey])
    this.#tokens = row.tokens
    this.#longest = row.tokens
  }

  get masksAreFull(): boolean {
    return this.#masks.size >= this.limits.maxMasks
  }

  takes({ row, flow }: Entry<Row>): boolean {
    return this.#takesFrom(row.tokens, row.tokens, this.#flows.has(flow) ? 0 : 1)
  }

  /** Whether there may be a row of a length class that it takes. */
  mayTake(lengthClass: number): boolean {
    return this.#takesFrom(shortestOf(lengthClass), shortestOf(lengthClass + 1), 1)
  }

  #takesFrom(shortest: number, longest: number, furtherTasks: number): boolean {
    const { maxTokens, taskTokens = maxTokens } = this.limits
    const most = Math.min(maxTokens, (this.#flows.size + furtherTasks) * taskTokens)
    const places = (this.entries.length + 1) * Math.max(this.#longest, shortest)
    return this.#tokens + shortest <= most && places <= maxPlacesPerToken * (this.#tokens + longest)
  }

  add(entry: Entry<Row>): void {
    const { row, flow } = entry
    this.entries.push(entry)
    this.#flows.add(flow)
    this.#masks.add(row.maskKey)
    this.#tokens += row.tokens
    this.#longest = Math.max(this.#longest, row.tokens)
  }

  /** The row of a length whose turn is next among those whose masks are here. */
  next(lengthClass: number): Entry<Row> | undefined {
    let first: Entry<Row> | undefined
    for (const flow of this.#flows) {
      const entry = earliestOfLength(flow, lengthClass)
      if (entry === undefined || !this.#masks.has(entry.row.maskKey)) continue
      if (first === undefined || isBefore(flow, first.flow)) first = entry
    }
    return first
  }
}

const isBefore = <Row>(a: TaskFlow<Row>, b: TaskFlow<Row>) =>
  a.tenant === b.tenant ? a.turn < b.turn : a.tenant.turn < b.tenant.turn

/** The next flow that is not ahead of the one that leads, or else that one. */
function nextBeside<F extends Flow>(turns: Turns<F>, lead: Lead<F>, lengthClass: number): F | undefined {
  const first = turns.firstOf(lengthClass)
  if (first === undefined || first.turn <= lead.until) return first
  return (lead.flow.rowsOfLength[lengthClass] ?? 0) > 0 ? lead.flow : undefined
}

/** The row of a task that must be answered first. */
function earliest<Row extends Waiting>(flow: TaskFlow<Row>): Entry<Row> | undefined {
  let first: Entry<Row> | undefined
  flow.byLength.forEach((_, lengthClass) => {
    const entry = earliestOfLength(flow, lengthClass)
    if (entry && (first === undefined || byDeadline(entry, first) < 0)) first = entry
  })
  return first
}

function earliestOfLength<Row>(flow: TaskFlow<Row>, lengthClass: number): Entry<Row> | undefined {
  const heap = flow.byLength[lengthClass]
  let first = heap?.peek()
  while (first !== undefined && !first.waits) {
    heap?.pop()
    first = heap?.peek()
  }
  return first
}

/** Tokens of a task's rows that go before one with a deadline. */
function tokensBefore<Row extends Waiting>(flow: TaskFlow<Row>, deadline: number): number {
  if (deadline >= flow.latest) return flow.tokens
  let tokens = 0
  for (const heap of flow.byLength)
    for (const { waits, row } of heap?.toArray() ?? []) if (waits && row.deadline <= deadline) tokens += row.tokens
  return tokens
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

const newTenant = <Row>(id: string, weight: number): TenantFlow<Row> => ({
  id,
  weight,
  turn: 0,
  rows: 0,
  tokens: 0,
  rowsOfLength: [],
  tasks: new Turns(),
})

const newTask = <Row>(id: string, tenant: TenantFlow<Row>): TaskFlow<Row> => ({
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
