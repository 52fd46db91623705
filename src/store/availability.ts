// Whether a replica can make changes in the shared database now. If not: why, what the log says, and what callers get.

import type { Logger } from 'pino'
import { Problem } from '../problem.js'
import type { Mirror } from './mirror.js'
import type { FollowingState } from './store.js'

/** How long changes wait after the connection was lost, for example while the database restarts, in milliseconds. */
const maxRestartMs = 5_000

/** Why no changes can be made now. */
export interface Obstacle {
  readonly state: Exclude<FollowingState, 'following'>
  /** For the log only: it may name hosts and users, which callers must not see. */
  readonly reason: string
}

const texts = {
  away: {
    logged: 'the database cannot be followed',
    detail: 'the database that holds the tasks cannot be used now',
  },
  copying: {
    logged: 'the mirror is to be rebuilt',
    detail: 'this replica makes a full copy of the database that holds the tasks',
  },
  other_history: {
    logged:
      'the database is not followed: connect to the right database, or start with --accept-history and the value of ' +
      'accept_history to copy this one and lose what only the mirror has',
    detail: 'the database is not the one that this replica has a copy of, or lacks changes that the copy has',
  },
  mirror_failed: {
    logged: 'the mirror of the database cannot be written',
    detail: 'this replica cannot write its copy of the database that holds the tasks',
  },
} as const satisfies Record<Obstacle['state'], { logged: string; detail: string }>

/** The problem of a change that was not made because of an obstacle. */
export const notMade = ({ state }: Pick<Obstacle, 'state'>): Problem =>
  new Problem('storage_unavailable', `${texts[state].detail}; the change was not made`)

export class Availability {
  #obstacle: Obstacle | undefined = { state: 'away', reason: 'it has not been reached yet' }
  /** The reason that was logged last. */
  #logged: string | undefined
  /** When the connection was lost; undefined while there is one, and before the first one. */
  #lostAt: number | undefined

  constructor(
    readonly mirror: Mirror,
    readonly logger: Pick<Logger, 'info' | 'warn'>,
    /** Called when changes can be made again, and for every obstacle. */
    readonly onChange: () => void,
  ) {}

  /** A connection that was lost is not an obstacle before an attempt to replace it has failed. */
  get obstacle(): Obstacle | undefined {
    return this.#obstacle
  }

  /** The problem that changes get now; undefined while they are made, or wait for a database that may be restarting. */
  get problem(): Problem | undefined {
    const mayBeRestarting = this.#lostAt !== undefined && performance.now() - this.#lostAt < maxRestartMs
    return this.#obstacle === undefined || mayBeRestarting ? undefined : notMade(this.#obstacle)
  }

  /** The mirror follows the database. */
  restore(): void {
    if (this.#obstacle !== undefined)
      this.logger.info({ change: this.mirror.position?.number }, 'following the database')
    this.#obstacle = undefined
    this.#logged = undefined
    this.#lostAt = undefined
    this.onChange()
  }

  block(obstacle: Obstacle): void {
    this.#obstacle = obstacle
    if (obstacle.state !== 'away') this.#lostAt = undefined
    this.onChange()
  }

  /** Also logs the obstacle, once for each reason. */
  blockAndLog(obstacle: Obstacle, details: object = {}): void {
    const { state, reason } = obstacle
    const meanwhile = this.mirror.readable
      ? 'this replica serves its mirror and rejects changes'
      : 'this replica has no mirror to serve and is waiting for the database'
    if (reason !== this.#logged) this.logger.warn({ ...details, reason }, `${texts[state].logged}; ${meanwhile}`)
    this.#logged = reason
    this.block(obstacle)
  }

  connectionLost(reason: string): void {
    this.#lostAt = performance.now()
    this.logger.warn({ reason }, 'the connection to the database is lost')
  }
}
