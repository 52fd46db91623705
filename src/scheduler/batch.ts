// A batch while it is formed. The first row leads it; this module decides which rows may join.

import {
  type Entry,
  earliestOfLength,
  type SchedulableRow,
  shortestOf,
  type TaskFlow,
  type TenantFlow,
} from './flows.js'
import type { Flow, Turns } from './turns.js'

export interface BatchLimits {
  /** Most tokens of a batch. A longer row still runs, alone. */
  readonly maxTokens: number
  /**
   * Most tokens of a batch per task in it, if less. Long batches should serve many tasks, so that other tasks do not wait
   * long for the batches of a single task.
   */
  readonly taskTokens?: number
  /**
   * Padded positions that cost no more than another batch. A device computes thousands of positions in the time that it takes
   * to start a batch. Default: none.
   */
  readonly freePlaces?: number
  /** Most different masks in a batch. */
  readonly maxMasks: number
  /** Most tokens of a batch while a tenant floods: it has most of the waiting tokens, and more than one batch of them. */
  readonly floodTokens?: number
  /** Most tokens of the row that leads a batch. */
  readonly maxLeaderTokens?: number
}

type TokenLimits = Pick<BatchLimits, 'maxTokens' | 'taskTokens'>

/** Most tokens of a batch per task. */
export const taskTokensOf = ({ maxTokens, taskTokens = maxTokens }: TokenLimits): number => taskTokens

/** Tokens of the largest batch that the rows of this number of tasks can fill. */
export const largestBatch = (limits: TokenLimits, tasks: number): number =>
  Math.min(limits.maxTokens, tasks * taskTokensOf(limits))

/** The limits of a batch while a tenant floods. */
export function limitsDuringFlood(limits: BatchLimits): BatchLimits {
  const { maxTokens, floodTokens = maxTokens } = limits
  return {
    ...limits,
    maxTokens: Math.min(maxTokens, floodTokens),
    taskTokens: Math.min(taskTokensOf(limits), floodTokens),
  }
}

/**
 * Attention pads all rows to the longest one. A row may join while at most half of the padded positions are padding, not
 * counting those that are free.
 */
const maxPlacesPerToken = 2

/** The flow that leads a batch, and how far the turns of other flows may be ahead of it. */
interface Lead<F> {
  readonly flow: F
  /** Up to this turn a flow counts as even with the leader. */
  readonly even: number
  /** Up to this turn a flow is less than a whole batch ahead. */
  readonly near: number
}

export class Batch<Row extends SchedulableRow> {
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
    // The turns of flows that always wait differ by a few rows. A flow that floods is half a batch ahead or more.
    const leadOf = <F extends Flow>(leading: F): Lead<F> => ({
      flow: leading,
      even: leading.turn + taskTokensOf(limits) / 2 / leading.weight,
      near: leading.turn + limits.maxTokens / leading.weight,
    })
    this.entries = [leader]
    this.task = leadOf(flow)
    this.tenant = leadOf(flow.tenant)
    this.#flows = new Set([flow])
    this.#masks = new Set([row.maskKey])
    this.#tokens = row.tokens
    this.#longest = row.tokens
  }

  get tokens(): number {
    return this.#tokens
  }

  get masksAreFull(): boolean {
    return this.#masks.size >= this.limits.maxMasks
  }

  accepts({ row, flow }: Entry<Row>): boolean {
    return this.#acceptsFrom(row.tokens, row.tokens, this.#flows.has(flow) ? 0 : 1)
  }

  /** Whether a row of the length class could be accepted. */
  mayAccept(lengthClass: number): boolean {
    return this.#acceptsFrom(shortestOf(lengthClass), shortestOf(lengthClass + 1), 1)
  }

  /** @param further number of tasks that would be new in the batch */
  #acceptsFrom(shortest: number, longest: number, further: number): boolean {
    const most = largestBatch(this.limits, this.#flows.size + further)
    const places = (this.entries.length + 1) * Math.max(this.#longest, shortest)
    const { freePlaces = 0 } = this.limits
    return this.#tokens + shortest <= most && places - freePlaces <= maxPlacesPerToken * (this.#tokens + longest)
  }

  add(entry: Entry<Row>): void {
    const { row, flow } = entry
    this.entries.push(entry)
    this.#flows.add(flow)
    this.#masks.add(row.maskKey)
    this.#tokens += row.tokens
    this.#longest = Math.max(this.#longest, row.tokens)
  }

  /** The row of a length class whose turn is next, of those whose mask is in the batch already. */
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

/**
 * The next flow that may add a row to a batch, or the leading flow if no other may. A flow that is ahead of the leader may
 * join if it is less than a whole batch ahead and does not flood, that is, has at most half of all tokens.
 * @param all waiting tokens of all flows, and those of the batch
 */
export function nextToJoin<F extends Flow>(
  turns: Turns<F>,
  lead: Lead<F>,
  lengthClass: number,
  all: number,
): F | undefined {
  const first = turns.firstOf(lengthClass)
  if (first === undefined || first.turn <= lead.even) return first
  if (first.turn <= lead.near && 2 * first.tokens <= all) return first
  return (lead.flow.rowsOfLength[lengthClass] ?? 0) > 0 ? lead.flow : undefined
}
