// Changes that were requested and are not settled. A store makes waiting changes together in one transaction.

import type { Problem } from '../problem.js'
import type { StoreWriter } from './store.js'

type Outcome<T> = { readonly returned: T } | { readonly threw: unknown }

export class PendingChange<T = unknown> {
  readonly settled: Promise<T>
  readonly requestedAt = performance.now()
  /** The conflict that the last attempt met, and the number of attempts that met one. */
  lastConflict: Problem | undefined
  conflicts = 0
  /** Connections that were lost while the change was being made. */
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

  /**
   * Reads and writes. The result is kept until the transaction is durable.
   * @returns whether the writes are to be made
   */
  run(records: StoreWriter): boolean {
    try {
      this.#outcome = { returned: this.body(records) }
      return true
    } catch (error) {
      this.#outcome = { threw: error }
      return false
    }
  }

  /** The transaction in which the change ran is durable. */
  settle(): void {
    if (this.#outcome && 'returned' in this.#outcome) this.#resolve(this.#outcome.returned)
    else this.#reject(this.#outcome?.threw)
  }

  reject(problem: Problem): void {
    this.#reject(problem)
  }
}
