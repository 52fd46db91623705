// Keeps a replica's mirror up to date with the shared database, over one connection.

import { EventEmitter, once } from 'node:events'
import type { Logger } from 'pino'
import { Problem } from '../problem.js'
import type { Availability } from './availability.js'
import type { Database } from './database.js'
import { Comparison, CopyPace, copy, makePlan, type Plan } from './following.js'
import type { Mirror } from './mirror.js'
import { isSamePosition, type Position } from './mirror-file.js'
import { WakeUp } from './wake-up.js'

/** A notification wakes the replica. Without one it looks for changes this often, in milliseconds. */
export const pollMs = 1_000
/** How long to wait until a change that was made can be read here, in milliseconds. */
const maxVisibleMs = 5_000

interface FollowerOptions {
  readonly mirror: Mirror
  readonly availability: Availability
  readonly logger: Pick<Logger, 'info' | 'warn'>
  /** The change that `--accept-history` names. */
  readonly acceptHistory: string | undefined
  /** Ends all waiting. */
  readonly stop: AbortSignal
}

export class Follower {
  readonly #wakeUp = new WakeUp()
  /** Emits `followed` when the mirror has reached the newest change. */
  readonly #progress = new EventEmitter().setMaxListeners(0)
  readonly #pace = new CopyPace()
  readonly #comparison = new Comparison()
  #upToDateAt = Date.now()

  constructor(readonly options: FollowerOptions) {}

  /** When the mirror was last known to have every change, in milliseconds of the epoch. */
  get upToDateAt(): number {
    return this.#upToDateAt
  }

  /** Looks for changes at once. */
  wake(): void {
    this.#wakeUp.wake()
  }

  /** Follows the database until the signal is aborted. */
  async run(database: Database, signal: AbortSignal, onReadable: () => void): Promise<void> {
    const { mirror, availability } = this.options
    while (!signal.aborted) {
      if (mirror.readable) onReadable()
      const isFollowing = availability.obstacle === undefined
      await this.#wakeUp.wait(isFollowing ? Math.min(pollMs, this.#comparison.waitMs) : pollMs)
      if (signal.aborted) return
      await this.catchUp(database)
      if (availability.obstacle === undefined && this.#comparison.waitMs === 0)
        await database.snapshot(() => this.#comparison.part(database, mirror))
    }
  }

  async catchUp(database: Database): Promise<void> {
    const { mirror, availability, acceptHistory } = this.options
    for (;;) {
      const startedAt = Date.now()
      await mirror.check()
      const { position } = mirror
      const { head } = await database.head(position)
      const { rebuildReason, memoryFull } = mirror
      if (position === undefined || !isSamePosition(head, position) || rebuildReason !== undefined || memoryFull) {
        const plan = await database.snapshot(() => makePlan(database, mirror, acceptHistory))
        if (!(await this.#execute(database, plan))) return
      }
      // Otherwise a change of this replica has moved the mirror, and there may be more.
      if (!this.isAt(head)) continue
      this.#upToDateAt = startedAt
      availability.restore()
      this.#progress.emit('followed')
      return
    }
  }

  /** Brings only the small tables up to date, even while large records are being followed. */
  async followSmall(database: Database): Promise<void> {
    const { mirror } = this.options
    const { position, smallAt } = mirror
    if (position === undefined) return
    const newerSmall = await database.smallSince(position, smallAt)
    if (newerSmall) await mirror.advanceSmall(position, newerSmall.smallAt, newerSmall.writes)
  }

  isAt({ number }: Position): boolean {
    return (this.options.mirror.position?.number ?? 0) >= number
  }

  /** Resolves once the mirror is at a position or a later one. @throws AbortError after some seconds */
  async untilReached(position: Position): Promise<void> {
    const signal = AbortSignal.timeout(maxVisibleMs)
    while (!this.isAt(position)) await this.untilFollowed(signal)
  }

  /** Resolves once the mirror is at a change that was the newest a moment ago. @throws AbortError */
  async untilFollowed(signal = AbortSignal.timeout(pollMs)): Promise<void> {
    this.#wakeUp.wake()
    await once(this.#progress, 'followed', { signal: AbortSignal.any([signal, this.options.stop]) })
  }

  /** @returns whether the mirror follows the database now */
  async #execute(database: Database, plan: Plan): Promise<boolean> {
    const { mirror, availability } = this.options
    switch (plan.kind) {
      case 'current':
        return true
      case 'reject':
        availability.blockAndLog({ state: 'other_history', reason: plan.reason }, { accept_history: plan.accept })
        return false
      case 'copy':
        if (mirror.memoryFull)
          availability.blockAndLog({
            state: 'mirror_failed',
            reason: 'the mirror cannot be written, and no more changes can be kept in memory',
          })
        else if (this.#pace.waitMs > 0)
          availability.blockAndLog({ state: 'copying', reason: `a full copy follows soon: ${plan.reason}` })
        else return this.#copy(database, plan)
        return false
    }
  }

  /** @returns whether a copy was made */
  async #copy(database: Database, plan: Plan & { readonly kind: 'copy' }): Promise<boolean> {
    const { mirror, availability, logger } = this.options
    availability.block({ state: 'copying', reason: plan.reason })
    try {
      const isCopied = await database.snapshot(() => copy(database, mirror, plan, this.#pace, logger))
      if (!isCopied) availability.block({ state: 'copying', reason: 'other replicas are making full copies' })
      return isCopied
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      availability.blockAndLog({ state: 'mirror_failed', reason: error.message })
      return false
    }
  }
}
