// Whose turn it is, among flows that share something: tenants the engine, tasks their tenant's part of it.
//
// A flow's turn is the tokens it was served, divided by its weight; the flow with the lowest turn is next. It is counted
// when rows are served, as the virtual token counters of Sheng et al. ("Fairness in Serving Large Language Models", OSDI
// 2024) are, and a flow that comes back from idleness is lifted to the turn that is being served, the virtual time of
// start-time fair queueing (Goyal, Vin, Cheng 1996): idleness earns no credit.

import { Heap } from 'heap-js'

export interface Flow {
  readonly id: string
  turn: number
  readonly weight: number
  /** Rows that wait, and their tokens. */
  readonly rows: number
  readonly tokens: number
  /** Rows that wait, by length class. */
  readonly rowsOfLength: readonly number[]
}

interface Place<F> {
  readonly flow: F
  /** The flow's turn when it was put here. */
  turn: number
  /** Of two flows with one turn the one that has been here for longer goes first. */
  order: number
}

/** Flows by turn. A turn only grows, so a flow is put right when it comes to the front, and not before. */
class TurnOrder<F extends Flow> {
  readonly #members = new Set<F>()
  readonly #heap = new Heap<Place<F>>((a, b) => a.turn - b.turn || a.order - b.order)
  #order = 0

  add(flow: F): void {
    if (this.#members.has(flow)) return
    this.#members.add(flow)
    this.#heap.push({ flow, turn: flow.turn, order: this.#order++ })
  }

  /** The first flow that still waits; those before it that do not are let go. */
  first(waits: (flow: F) => boolean, letGo: (flow: F) => void = () => {}): F | undefined {
    for (let front = this.#heap.peek(); front !== undefined; front = this.#heap.peek()) {
      const { flow } = front
      if (front.turn < flow.turn) {
        front.turn = flow.turn
        front.order = this.#order++
        this.#heap.replace(front)
      } else if (waits(flow)) return flow
      else {
        this.#heap.pop()
        this.#members.delete(flow)
        letGo(flow)
      }
    }
    return undefined
  }
}

export class Turns<F extends Flow> {
  /** Every flow that has rows, or was served more than the others and is not forgiven it yet. */
  readonly flows = new Map<string, F>()
  readonly #all = new TurnOrder<F>()
  readonly #ofLength: TurnOrder<F>[] = []
  /** The turn that is being served. */
  #now = 0

  /** Where a flow stands, or would stand if it had rows now. */
  turnOf(flow: F | undefined): number {
    return flow === undefined ? this.#now : flow.rows > 0 ? flow.turn : Math.max(flow.turn, this.#now)
  }

  /** Told before the flow gets a row. */
  enter(flow: F, lengthClass: number): void {
    flow.turn = this.turnOf(flow)
    this.flows.set(flow.id, flow)
    this.#all.add(flow)
    this.#orderOf(lengthClass).add(flow)
  }

  /** The flow whose turn it is. One that has no rows when its turn comes has nothing ahead of the others: it is forgotten. */
  lead(): F | undefined {
    const leader = this.#all.first(
      (flow) => flow.rows > 0,
      (flow) => this.flows.delete(flow.id),
    )
    if (leader !== undefined) this.#now = leader.turn
    return leader
  }

  /** The first flow that has rows of a length. */
  firstOf(lengthClass: number): F | undefined {
    return this.#ofLength[lengthClass]?.first((flow) => (flow.rowsOfLength[lengthClass] ?? 0) > 0)
  }

  /** Tokens that the flows would be served until a turn is reached, those left out that `except` names. */
  tokensUntil(turn: number, except: (flow: F) => boolean): number {
    let tokens = 0
    for (const flow of this.flows.values())
      if (flow.rows > 0 && flow.turn < turn && !except(flow))
        tokens += Math.min(flow.tokens, (turn - flow.turn) * flow.weight)
    return tokens
  }

  #orderOf(lengthClass: number): TurnOrder<F> {
    this.#ofLength[lengthClass] ??= new TurnOrder<F>()
    return this.#ofLength[lengthClass]
  }
}
