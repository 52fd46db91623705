// Whose turn it is, among flows that share something: tenants the engine, tasks their tenant's part of it.
//
// A flow's turn is the tokens it was served, divided by its weight; the flow with the lowest turn is next. It is counted
// when rows are served, as the virtual token counters of Sheng et al. ("Fairness in Serving Large Language Models", OSDI
// 2024) are. A flow that comes back from idleness is lifted to the virtual time: idleness earns no credit. That time goes
// on by what is served, divided by the weights of those who wait, as in processor sharing (Parekh and Gallager 1993), and
// is never behind the turn that is being served (Goyal, Vin, Cheng 1996). By the latter alone it would stand still while
// ever new flows come, and who has been waiting with a few rows more would wait for all of them.

import { Heap } from 'heap-js'

export interface Flow {
  readonly id: string
  turn: number
  weight: number
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
  /** The virtual time: where a flow begins. */
  #now = 0
  /** What it will be when the next flow leads: flows that come while a batch is put together or runs are even. */
  #next = 0
  /** Who shares what is served: flows that have rows, and those that had and were served ahead of time. */
  readonly #sharing = new Set<F>()
  #weights = 0
  /** Flows that ran out of rows, by the time that has to come before they no longer share. */
  readonly #ahead = new Heap<{ readonly flow: F; readonly turn: number }>((a, b) => a.turn - b.turn)

  /** Where a flow stands, or would stand if it had rows now. */
  turnOf(flow: F | undefined): number {
    return flow === undefined ? this.#now : flow.rows > 0 ? flow.turn : Math.max(flow.turn, this.#now)
  }

  /** Told before the flow gets a row; the weight holds from now on. */
  enter(flow: F, lengthClass: number, weight: number): void {
    flow.turn = this.turnOf(flow)
    this.#weights += weight - (this.#sharing.has(flow) ? flow.weight : 0)
    flow.weight = weight
    this.#sharing.add(flow)
    this.flows.set(flow.id, flow)
    this.#all.add(flow)
    this.#orderOf(lengthClass).add(flow)
  }

  /** Told when a row of the flow is served, before it is taken out. */
  served(flow: F, tokens: number): void {
    // What brings a flow up to the time was due before: the time does not go on by it.
    const due = Math.max(0, this.#next - flow.turn) * flow.weight
    flow.turn += tokens / flow.weight
    let left = Math.max(0, tokens - due)
    for (let first = this.#firstAhead(); first !== undefined; first = this.#firstAhead()) {
      const until = Math.max(0, first.turn - this.#next) * this.#weights
      if (until > left) break
      left -= until
      this.#next = Math.max(this.#next, first.turn)
      this.#stopSharing(first)
    }
    this.#next += left / Math.max(this.#weights, flow.weight)
  }

  /** Told when the flow's last row has been taken out. */
  leave(flow: F): void {
    if (flow.turn > this.#next) this.#ahead.push({ flow, turn: flow.turn })
    else this.#stopSharing(flow)
  }

  /** The flow without rows that stops sharing first. Those that have stopped, or have come back since, are let go. */
  #firstAhead(): F | undefined {
    for (let first = this.#ahead.peek(); first !== undefined; first = this.#ahead.peek()) {
      const { flow, turn } = first
      if (this.#sharing.has(flow) && flow.rows === 0 && flow.turn === turn) return flow
      this.#ahead.pop()
    }
    return undefined
  }

  #stopSharing(flow: F): void {
    if (this.#sharing.delete(flow)) this.#weights -= flow.weight
  }

  /** The flow whose turn it is. One that has no rows when its turn comes has nothing ahead of the others: it is forgotten. */
  lead(): F | undefined {
    const leader = this.#all.first(
      (flow) => flow.rows > 0,
      (flow) => {
        this.flows.delete(flow.id)
        this.#stopSharing(flow)
      },
    )
    this.#next = Math.max(this.#next, leader?.turn ?? 0)
    this.#now = this.#next
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
