// A simulation of the dispatcher: a virtual clock that only events advance, and engines with a known cost.

import type { BatchResult, EngineRow } from '../../src/engine/engine.js'
import { EngineLost } from '../../src/engine/engine-lost.js'
import { Problem } from '../../src/problem.js'
import type { Clock } from '../../src/scheduler/clock.js'
import { CostModel } from '../../src/scheduler/cost.js'
import { Dispatcher, type DispatcherOptions } from '../../src/scheduler/dispatcher.js'
import type { Runner } from '../../src/scheduler/engine-state.js'

interface Event {
  readonly at: number
  readonly callback: () => void
}

export class VirtualClock implements Clock {
  #now = 0
  #events: Event[] = []
  #pausedMs = 0

  pausedMs(): number {
    return this.#pausedMs
  }

  /** Advances the time without calling back, like a process that is suspended. */
  pause(ms: number): void {
    this.#now += ms
    this.#pausedMs += ms
  }

  now(): number {
    return this.#now
  }

  after(ms: number, callback: () => void): () => void {
    const event = { at: this.#now + Math.max(ms, 0), callback }
    const place = this.#events.findLastIndex(({ at }) => at <= event.at)
    this.#events.splice(place + 1, 0, event)
    return () => {
      this.#events = this.#events.filter((other) => other !== event)
    }
  }

  /** Runs all events until a time, or until none is left. */
  async run(until = Number.POSITIVE_INFINITY): Promise<void> {
    await settled()
    for (let next = this.#events[0]; next !== undefined && next.at <= until; next = this.#events[0]) {
      this.#events.shift()
      // After a pause the event is late.
      this.#now = Math.max(this.#now, next.at)
      next.callback()
      await settled()
    }
    if (until < Number.POSITIVE_INFINITY) this.#now = Math.max(this.#now, until)
  }
}

/** The clock of a busy process: it calls back `ms` milliseconds late. */
export class LateClock extends VirtualClock {
  ms = 0

  override after(ms: number, callback: () => void): () => void {
    return super.after(ms + this.ms, callback)
  }
}

/** Resolves after all settled promises have run their callbacks. */
const settled = () => new Promise((resolve) => setImmediate(resolve))

export interface SimulatedRequest {
  readonly tenant?: string
  readonly weight?: number
  readonly task?: string
  /** Tokens of each row. */
  readonly tokens?: readonly number[]
  readonly timeoutMs?: number
  /** The cost of each row. */
  readonly cost?: number
  readonly onAdmitted?: () => void
  readonly signal?: AbortSignal
}

export interface Outcome {
  readonly request: SimulatedRequest
  readonly arrivedAt: number
  readonly endedAt: number
  /** `completed`, or the code of the Problem, or the message of another error. */
  readonly end: string
  readonly inTime: boolean
}

/** A runner whose availability the test sets. */
export interface SimulatedRunner extends Runner {
  available: boolean
}

export interface Simulation {
  readonly clock: VirtualClock
  readonly dispatcher: Dispatcher
  readonly runners: readonly SimulatedRunner[]
  /** Every batch that was started, and its engine. */
  readonly batches: { readonly at: number; readonly engine: number; readonly rows: readonly EngineRow[] }[]
  readonly outcomes: Outcome[]
  /** Sends a request now. The outcome is added to `outcomes`. */
  send(request: SimulatedRequest): Promise<Outcome>
}

export interface SimulationOptions extends Partial<DispatcherOptions> {
  readonly engines?: number
  /** How long a batch takes, in milliseconds. */
  readonly batchMs?: (tokens: number) => number
  /** The real time of a batch divided by the time of the cost model, by the number of the batch. */
  readonly pace?: (batch: number) => number
  /** Whether an engine cannot compute a batch. */
  readonly fails?: (rows: readonly EngineRow[]) => boolean
  /** Whether an engine is lost with a batch. */
  readonly loses?: (engine: number, rows: readonly EngineRow[]) => boolean
}

export const cost = { fixedMs: 5, tokenMs: 0.25 }
export const batchMs = (tokens: number) => cost.fixedMs + cost.tokenMs * tokens

export function simulate(options: SimulationOptions = {}, clock = new VirtualClock()): Simulation {
  const { engines = 1, batchMs: msOf = batchMs, pace = () => 1, fails = () => false, loses = () => false } = options
  const batches: Simulation['batches'] = []
  const outcomes: Outcome[] = []
  const engine = (index: number): SimulatedRunner => {
    let freeAt = 0
    return {
      available: true,
      run: (rows: readonly EngineRow[]): Promise<BatchResult> => {
        const tokens = rows.reduce((sum, { inputIds }) => sum + inputIds.length, 0)
        const runMs = msOf(tokens) * pace(batches.length)
        batches.push({ at: clock.now(), engine: index, rows })
        if (loses(index, rows))
          return Promise.reject(new EngineLost({ cause: 'failed', reason: 'the thread ended' }, true))
        if (fails(rows)) return Promise.reject(new Error('the engine failed'))
        freeAt = Math.max(freeAt, clock.now()) + runMs
        const longest = Math.max(...rows.map(({ inputIds }) => inputIds.length))
        const result = {
          rows: rows.map((row) => ({ pooled: Float32Array.from([row.inputIds.length]) })),
          runMs,
          recomputed: 0,
          places: rows.length * longest,
          tokens,
        }
        return new Promise((resolve) => clock.after(freeAt - clock.now(), () => resolve(result)))
      },
    }
  }
  const runners = Array.from({ length: engines }, (_, index) => engine(index))
  const dispatcher = new Dispatcher(
    runners,
    { maxTokens: 128, maxMasks: 64, maxQueueRows: 100_000, ...options },
    new CostModel([32, 128].map((tokens) => ({ tokens, ms: msOf(tokens) }))),
    clock,
  )
  return {
    clock,
    dispatcher,
    runners,
    batches,
    outcomes,
    async send(request) {
      const {
        tenant = '',
        weight = 1,
        task = 'a',
        tokens = [25],
        timeoutMs = 60_000,
        cost,
        onAdmitted,
        signal,
      } = request
      const arrivedAt = clock.now()
      const deadline = arrivedAt + timeoutMs
      const end = await dispatcher
        .submit(
          tokens.map((length) => ({ task, row: rowOf(task, length), ...(cost !== undefined && { cost }) })),
          { tenant, weight, deadline, ...(onAdmitted && { onAdmitted }), ...(signal && { signal }) },
        )
        .then(
          (results) => {
            if (results.some(({ pooled }, index) => pooled[0] !== tokens[index]))
              throw new Error('a row has the result of another row')
            return 'completed'
          },
          (error: Error) => (error instanceof Problem ? error.code : error.message),
        )
      const endedAt = clock.now()
      const outcome = { request, arrivedAt, endedAt, end, inTime: end === 'completed' && endedAt <= deadline }
      outcomes.push(outcome)
      return outcome
    },
  }
}

export const rowOf = (task: string, tokens: number): EngineRow => ({
  inputIds: new Int32Array(tokens),
  tokenTypeIds: new Int32Array(tokens),
  pooling: 'mean',
  maskKey: task,
  bitset: () => new Uint8Array(),
  withHidden: false,
})

/**
 * Clients that send one request after another until a time.
 * @param what the request, or a function that returns the next request of any client
 */
export function flood(
  { send, clock }: Simulation,
  clients: number,
  what: SimulatedRequest | (() => SimulatedRequest),
  untilMs: number,
): void {
  const next = typeof what === 'function' ? what : () => what
  const client = async () => {
    while (clock.now() < untilMs) {
      const { endedAt, arrivedAt } = await send(next())
      // A client that was rejected at once tries again 10 ms later.
      if (endedAt === arrivedAt) await new Promise<void>((resolve) => void clock.after(10, resolve))
    }
  }
  for (let index = 0; index < clients; index++) void client()
}

/** Sends requests at given times, without waiting for results. */
export function arrivals(
  { send, clock }: Simulation,
  times: readonly number[],
  what: (index: number) => SimulatedRequest,
): void {
  times.forEach((time, index) => {
    clock.after(time - clock.now(), () => void send(what(index)))
  })
}

/** Arrival times of a Poisson process, with the random generator of Park and Miller. */
export function poisson(ratePerMs: number, untilMs: number, seed: number): number[] {
  let state = seed
  const times: number[] = []
  for (let time = 0; ; ) {
    state = (state * 48_271) % 2_147_483_647
    time -= Math.log(state / 2_147_483_647) / ratePerMs
    if (time >= untilMs) return times
    times.push(time)
  }
}
