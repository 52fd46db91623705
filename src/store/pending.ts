// Changes that were asked for and are not settled. A store makes those that wait together, in one transaction.

import type { Problem } from '../problem.js'
import type { StoreWriter } from './store.js'

type Outcome<T> = { readonly returned: T } | { readonly threw: unknown }

export class PendingChange<T = unknown> {
  readonly settled: Promise<T>
  readonly requestedAt = performance.now()
  /** What kept it from being made when it was last tried, and how often something has. */
  lastConflict: Problem | undefined
  conflicts = 0
  /** Connections that were lost with it. */
  lostConnections = 0
  #outcome: Outcome<T> | undefined
  #resolve!: (value: T) => void
  #reject!: (reason: unknown) => void

  constructor(
    readonly body: (records: StoreWriter) => T,
    readonly owner = '',
  ) {
    this.settled = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
  }

  /** Reads and writes; what comes of it is kept until the transaction is durable. @returns whether it may be written */
  run(records: StoreWriter): boolean {
    try {
      this.#outcome = { returned: this.body(records) }
      return true
    } catch (error) {
      this.#outcome = { threw: error }
      return false
    }
  }

  /** The transaction that it ran in is durable. */
  settle(): void {
    if (this.#outcome && 'returned' in this.#outcome) this.#resolve(this.#outcome.returned)
    else this.#reject(this.#outcome?.threw)
  }

  reject(problem: Problem): void {
    this.#reject(problem)
  }
}
