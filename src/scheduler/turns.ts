// Fair queueing: whose turn it is among flows that share a resource. Tenants share the engine, and the tasks of a tenant
// share its part.
//
// The turn of a flow is the cost of the rows it was served, divided by its weight. The flow with the lowest turn is next.
// Turns are counted when rows are served, like the virtual token counters of Sheng et al. ("Fairness in Serving Large
// Language Models", OSDI 2024). A flow that returns after being idle is lifted to the virtual time, so idle time earns no
// credit. The virtual time advances by the served cost divided by the weights of the waiting flows, as in processor sharing
// (Parekh and Gallager 1993). It is never behind the turn that is being served (Goyal, Vin, Cheng 1996). The latter rule
// alone is not enough: while new flows keep arriving the virtual time would not advance, and a flow with a few more rows
// than the others would wait for all of them.

import { IndexedHeap, type Placed } from './indexed-heap.js'

export interface Flow {
  readonly id: string
  turn: number
  weight: number
  /** Number of waiting rows, their tokens, and their cost. */
  readonly rows: number
  readonly tokens: number
  readonly cost: number
  /** Number of waiting rows by length class. */
  readonly rowsOfLength: readonly number[]
}

interface Place<F> extends Placed {
  readonly flow: F
  /** The flow's turn when it was last placed. */
  turn: number
  /** Of two flows with the same turn, the one with the lower number goes first. */
  order: number
}

/** Flows ordered by turn. Turns only grow, so the place of a flow is corrected only when it reaches the front. */
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

/** Idle flows whose turns are kept. Beyond the limit, the flow that has been idle longest is removed. */
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
  /** Flows that have rows, and idle flows whose turn the leaders have not reached yet. */
  readonly flows = new Map<string, F>()
  readonly #waiting = new TurnOrder<F>()
  readonly #waitingOfLength: (TurnOrder<F> | undefined)[] = []
  /** The virtual time, at which new flows start. */
  #now = 0
  /** The virtual time after the next lead(). All flows that arrive between two batches start at the same time. */
  #next = 0
  /** Flows without rows. A flow is removed when a leader has reached its turn. */
  readonly #idle = new TurnOrder<F>()
  /** Flows without rows whose turn is later than #next. They still count as sharing the resource. */
  readonly #ahead = new TurnOrder<F>()
  /** Sum of the weights of the flows that have rows or are in #ahead. */
  #weights = 0

  /**
   * @param remembered bounds the number of flows without rows; several Turns may share it
   * @param onForgotten receives each idle flow that is removed
   */
  constructor(
    readonly remembered: IdleFlows<F>,
    readonly onForgotten: (flow: F) => void = () => {},
  ) {}

  /** Number of flows that have rows. */
  get waiting(): number {
    return this.#waiting.size
  }

  /** The turn of a flow, or the turn that it would have if it got a row now. */
  turnOf(flow: F | undefined): number {
    return flow === undefined ? this.#now : flow.rows > 0 ? flow.turn : Math.max(flow.turn, this.#now)
  }

  /** The share of the resource that a flow with the given weight gets next to the current flows, from 0 to 1. */
  shareOf(flow: F | undefined, weight: number): number {
    const others = this.#weights - (flow !== undefined && this.#shares(flow) ? flow.weight : 0)
    return weight / (weight + Math.max(0, others))
  }

  /** Called before a row is added to the flow. Sets the weight of the flow. */
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

  /**
   * Called when a row of the flow is served, before it is removed.
   * @param outOfTurn the row did not wait for the turn of the flow. It does not put the flow ahead of the virtual time:
   *   otherwise the flow would wait for its turn long after the others have stopped sending.
   */
  served(flow: F, cost: number, outOfTurn = false): void {
    // A flow behind the virtual time catches up first. What it is served until then does not advance the time.
    const due = Math.max(0, this.#next - flow.turn) * flow.weight
    const latest = outOfTurn ? Math.max(flow.turn, this.#next) : Number.POSITIVE_INFINITY
    flow.turn = Math.min(flow.turn + cost / flow.weight, latest)
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

  /** Called after a row of the flow was removed. */
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

  /** The flow whose turn it is. Removes the idle flows whose turn it has reached. */
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

  /** Removes a flow without rows. If it returns, it starts at the virtual time. */
  forget(flow: F): void {
    if (!this.#idle.remove(flow)) return
    this.#stopSharing(flow)
    this.flows.delete(flow.id)
    this.remembered.delete(flow)
    // Rounding errors of the sum would remain.
    if (this.flows.size === 0) this.#weights = 0
    this.onForgotten(flow)
  }

  forgetIdle(): void {
    for (const flow of this.flows.values()) this.forget(flow)
  }

  /** The flow whose turn is next, of those with rows of the length class. */
  firstOf(lengthClass: number): F | undefined {
    return this.#waitingOfLength[lengthClass]?.first()
  }

  /** The load that flows would be served until a turn is reached, without the flows that `except` selects. */
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

  /** Removes a flow from #ahead, if it is there. */
  #stopSharing(flow: F): void {
    if (this.#ahead.remove(flow)) this.#weights -= flow.weight
  }

  #orderOf(lengthClass: number): TurnOrder<F> {
    this.#waitingOfLength[lengthClass] ??= new TurnOrder<F>()
    return this.#waitingOfLength[lengthClass]
  }
}
