// A batch while it is put together: which rows may join the one that leads it.

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
  /** Tokens of a batch; a single longer row still runs, alone. */
  readonly maxTokens: number
  /**
   * Tokens for each task that the batch serves, if that is less. A long batch should answer many tasks; between two batches
   * of a task that floods, other tasks need not wait for long.
   */
  readonly taskTokens?: number
  /** Different masks in a batch. */
  readonly maxMasks: number
  /** Tokens of a batch while a tenant floods: most of what waits is its, and more than a batch. */
  readonly floodTokens?: number
  /** Tokens of the row that leads a batch. */
  readonly maxLeaderTokens?: number
}

type TokenLimits = Pick<BatchLimits, 'maxTokens' | 'taskTokens'>

/** Tokens that a batch has for each task. */
export const taskTokensOf = ({ maxTokens, taskTokens = maxTokens }: TokenLimits): number => taskTokens

/** Tokens of the largest batch that rows of so many tasks can fill. */
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

/** Attention pads the rows of a batch to its longest. A row joins while at most half of those places are padding. */
const maxPlacesPerToken = 2

/** The flow that leads a batch, and the turns up to which another one is not ahead of it, and not by much. */
interface Lead<F> {
  readonly flow: F
  readonly even: number
  readonly near: number
}

/** A batch while it is put together. */
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
    // Flows that always wait are apart by what one row is, or a few; one that floods is half a batch ahead, and more.
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

  /** Whether there may be a row of a length class that it takes. */
  mayAccept(lengthClass: number): boolean {
    return this.#acceptsFrom(shortestOf(lengthClass), shortestOf(lengthClass + 1), 1)
  }

  /** @param further tasks that the batch does not serve yet */
  #acceptsFrom(shortest: number, longest: number, further: number): boolean {
    const most = largestBatch(this.limits, this.#flows.size + further)
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

/**
 * The next flow that may share a batch, or else the one that leads it. One that is ahead may while that is less than a whole
 * batch, and as long as it does not flood: then most of what there is to serve is its.
 * @param all tokens that wait, of all flows, and those of the batch
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
