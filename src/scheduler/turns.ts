// Whose turn it is, among flows that share something: tenants the engine, tasks their tenant's part of it.
//
// A flow's turn is the cost of what it was served, divided by its weight; the flow with the lowest turn is next. It is
// counted when rows are served, as the virtual token counters of Sheng et al. ("Fairness in Serving Large Language Models",
// OSDI 2024) are. A flow that returns from idleness is lifted to the virtual time: idleness earns no credit. The virtual time
// advances by what is served, divided by the weights of the flows that wait, as in processor sharing (Parekh and Gallager
// 1993), and is never behind the turn that is being served (Goyal, Vin, Cheng 1996). By the latter alone it would stand still
// while new flows keep arriving, and a flow that has a few rows more than they would wait for all of them.

import { IndexedHeap, type Placed } from './indexed-heap.js'

export interface Flow {
  readonly id: string
  turn: number
  weight: number
  /** The rows that wait, their tokens, and what they are charged. */
  readonly rows: number
  readonly tokens: number
  readonly cost: number
  /** Rows that wait, by length class. */
  readonly rowsOfLength: readonly number[]
}

interface Place<F> extends Placed {
  readonly flow: F
  /** The flow's turn when it was put here. */
  turn: number
  /** Of two flows with the same turn the one that was put here first goes first. */
  order: number
}

/** Flows by turn. A turn only grows, so a flow's place is corrected when it reaches the front, and not before. */
class TurnOrder<F extends Flow> {
  readonly #places = new Map<F, Place<F>>()
  readonly #heap = new IndexedHeap<Place<F>>((a, b) => a.turn - b.turn || a.order - b.order)
  #order = 0

  get size(): number {
    return this.#places.size
  }

  has(flow: F): boolean {
    return this.#places.has(flow)
  }

  add(flow: F): void {
    if (this.#places.has(flow)) return
    const place = { flow, turn: flow.turn, order: this.#order++, position: -1 }
    this.#places.set(flow, place)
    this.#heap.push(place)
  }

  remove(flow: F): boolean {
    const place = this.#places.get(flow)
    return place !== undefined && this.#places.delete(flow) && this.#heap.remove(place)
  }

  first(): F | undefined {
    for (let front = this.#heap.peek(); front !== undefined; front = this.#heap.peek()) {
      const { flow } = front
      if (!(front.turn < flow.turn)) return flow
      front.turn = flow.turn
      front.order = this.#order++
      this.#heap.moveBack(front)
    }
    return undefined
  }
}

/** Remembers flows without rows, a bounded number of them: beyond it the one that has been idle longest is forgotten. */
export class IdleFlows<F extends Flow> {
  readonly #turnsOf = new Map<F, Turns<F>>()

  constructor(readonly limit: number) {}

  get size(): number {
    return this.#turnsOf.size
  }

  add(flow: F, turns: Turns<F>): void {
    this.#turnsOf.set(flow, turns)
    const [oldest] = this.#turnsOf.keys()
    if (oldest !== undefined && this.#turnsOf.size > this.limit) this.#turnsOf.get(oldest)?.forget(oldest)
  }

  delete(flow: F): void {
    this.#turnsOf.delete(flow)
  }
}

export class Turns<F extends Flow> {
  /** The flows that have rows, and those that have none and whose turn has not come since. */
  readonly flows = new Map<string, F>()
  readonly #waiting = new TurnOrder<F>()
  readonly #waitingOfLength: (TurnOrder<F> | undefined)[] = []
  /** The virtual time: where a flow begins. */
  #now = 0
  /** The virtual time from the next lead() on: flows that come while a batch is put together or runs are equal. */
  #next = 0
  /** Flows without rows. Each is forgotten when a flow leads that has reached its turn. */
  readonly #idle = new TurnOrder<F>()
  /** Those of them whose turn is later than #next. They still share what is served. */
  readonly #ahead = new TurnOrder<F>()
  /** Sum of the weights of the flows that have rows or are ahead. */
  #weights = 0

  /**
   * @param remembered bounds the flows without rows, together with those of other Turns
   * @param onForgotten called with a flow that is not remembered any more
   */
  constructor(
    readonly remembered: IdleFlows<F>,
    readonly onForgotten: (flow: F) => void = () => {},
  ) {}

  /** Where a flow stands, or would stand if it had rows now. */
  turnOf(flow: F | undefined): number {
    return flow === undefined ? this.#now : flow.rows > 0 ? flow.turn : Math.max(flow.turn, this.#now)
  }

  /** The part of what is served that a flow with the given weight gets while the others go on as they do now. */
  shareOf(flow: F | undefined, weight: number): number {
    const others = this.#weights - (flow !== undefined && this.#shares(flow) ? flow.weight : 0)
    return weight / (weight + Math.max(0, others))
  }

  /** Called before the flow gets a row; the weight is the flow's from now on. */
  enter(flow: F, lengthClass: number, weight: number): void {
    flow.turn = this.turnOf(flow)
    this.#weights += weight - (this.#shares(flow) ? flow.weight : 0)
    flow.weight = weight
    if (flow.rows === 0) {
      this.#idle.remove(flow)
      this.#ahead.remove(flow)
      this.remembered.delete(flow)
      this.flows.set(flow.id, flow)
      this.#waiting.add(flow)
    }
    this.#orderOf(lengthClass).add(flow)
  }

  /** Called when a row of the flow is served, before it is taken out. */
  served(flow: F, cost: number): void {
    // A flow that is behind the virtual time was due before: what it is served until then does not advance the time.
    const due = Math.max(0, this.#next - flow.turn) * flow.weight
    flow.turn += cost / flow.weight
    let left = Math.max(0, cost - due)
    for (let first = this.#ahead.first(); first !== undefined; first = this.#ahead.first()) {
      const until = Math.max(0, first.turn - this.#next) * this.#weights
      if (until > left) break
      left -= until
      this.#next = Math.max(this.#next, first.turn)
      this.#stopSharing(first)
    }
    this.#next += left / Math.max(this.#weights, flow.weight)
  }

  /** Called when a row of the flow has been taken out. */
  leave(flow: F, lengthClass: number): void {
    if ((flow.rowsOfLength[lengthClass] ?? 0) === 0) this.#waitingOfLength[lengthClass]?.remove(flow)
    if (flow.rows > 0) return
    this.#waiting.remove(flow)
    if (this.#waiting.size === 0) this.#waitingOfLength.length = 0
    if (flow.turn > this.#next) this.#ahead.add(flow)
    else this.#weights -= flow.weight
    this.#idle.add(flow)
    this.remembered.add(flow, this)
  }

  /** The flow whose turn it is. Flows without rows that have nothing ahead of it are forgotten. */
  lead(): F | undefined {
    const leader = this.#waiting.first()
    for (let first = this.#idle.first(); first !== undefined; first = this.#idle.first()) {
      if (leader !== undefined && first.turn > leader.turn) break
      this.forget(first)
    }
    this.#next = Math.max(this.#next, leader?.turn ?? 0)
    this.#now = this.#next
    return leader
  }

  /** Forgets a flow that has no rows: if it returns, it begins where the others are. */
  forget(flow: F): void {
    if (!this.#idle.remove(flow)) return
    this.#stopSharing(flow)
    this.flows.delete(flow.id)
    this.remembered.delete(flow)
    // Sums of fractions leave a remainder.
    if (this.flows.size === 0) this.#weights = 0
    this.onForgotten(flow)
  }

  forgetIdle(): void {
    for (const flow of this.flows.values()) this.forget(flow)
  }

  /** The first flow that has rows of a length. */
  firstOf(lengthClass: number): F | undefined {
    return this.#waitingOfLength[lengthClass]?.first()
  }

  /** What the flows would be served until a turn is reached, without those that `except` names. */
  loadUntil(turn: number, except: (flow: F) => boolean): { readonly tokens: number; readonly cost: number } {
    let [tokens, cost] = [0, 0]
    for (const flow of this.flows.values()) {
      if (flow.cost === 0 || flow.turn >= turn || except(flow)) continue
      const charged = Math.min(flow.cost, (turn - flow.turn) * flow.weight)
      tokens += charged * (flow.tokens / flow.cost)
      cost += charged
    }
    return { tokens, cost }
  }

  #shares(flow: F): boolean {
    return flow.rows > 0 || this.#ahead.has(flow)
  }

  /** Ends the share of a flow without rows, if it has one. */
  #stopSharing(flow: F): void {
    if (this.#ahead.remove(flow)) this.#weights -= flow.weight
  }

  #orderOf(lengthClass: number): TurnOrder<F> {
    this.#waitingOfLength[lengthClass] ??= new TurnOrder<F>()
    return this.#waitingOfLength[lengthClass]
  }
}
