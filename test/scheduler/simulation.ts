// The dispatcher on a clock that only events move, with engines whose cost is known.

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

  /** Time passes, and nothing happens in it. */
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

  /** Lets everything happen that is due until a time; without one, until nothing is. */
  async run(until = Number.POSITIVE_INFINITY): Promise<void> {
    await settled()
    for (let next = this.#events[0]; next !== undefined && next.at <= until; next = this.#events[0]) {
      this.#events.shift()
      // After a pause it is late.
      this.#now = Math.max(this.#now, next.at)
      next.callback()
      await settled()
    }
    if (until < Number.POSITIVE_INFINITY) this.#now = Math.max(this.#now, until)
  }
}

/** A clock of a process that is late: it calls back so much later than it should. */
export class LateClock extends VirtualClock {
  ms = 0

  override after(ms: number, callback: () => void): () => void {
    return super.after(ms + this.ms, callback)
  }
}

/** When all promises that can go on have done so. */
const settled = () => new Promise((resolve) => setImmediate(resolve))

export interface Ask {
  readonly tenant?: string
  readonly weight?: number
  readonly task?: string
  /** Tokens of each row. */
  readonly tokens?: readonly number[]
  readonly timeoutMs?: number
  /** What each row is charged. */
  readonly cost?: number
  readonly onAdmitted?: () => void
  readonly signal?: AbortSignal
}

export interface Outcome {
  readonly ask: Ask
  readonly cameAt: number
  readonly endedAt: number
  /** A problem's code, or that it was answered. */
  readonly end: string
  readonly inTime: boolean
}

/** A runner whose test says whether it is available. */
export interface SimulatedRunner extends Runner {
  available: boolean
}

export interface Simulation {
  readonly clock: VirtualClock
  readonly dispatcher: Dispatcher
  readonly runners: readonly SimulatedRunner[]
  /** Every batch that was begun, with the engine it was at. */
  readonly batches: { readonly at: number; readonly engine: number; readonly rows: readonly EngineRow[] }[]
  readonly outcomes: Outcome[]
  /** Asks now; the outcome is added to the others. */
  ask(ask: Ask): Promise<Outcome>
}

export interface SimulationOptions extends Partial<DispatcherOptions> {
  readonly engines?: number
  /** Real milliseconds against those of the cost model, for a batch. */
  readonly pace?: (batch: number) => number
  /** Whether an engine cannot compute a batch. */
  readonly fails?: (rows: readonly EngineRow[]) => boolean
  /** Whether an engine is lost when it gets a batch. */
  readonly loses?: (engine: number, rows: readonly EngineRow[]) => boolean
}

export const cost = { fixedMs: 5, tokenMs: 0.25 }
export const batchMs = (tokens: number) => cost.fixedMs + cost.tokenMs * tokens

export function simulate(options: SimulationOptions = {}, clock = new VirtualClock()): Simulation {
  const { engines = 1, pace = () => 1, fails = () => false, loses = () => false } = options
  const batches: Simulation['batches'] = []
  const outcomes: Outcome[] = []
  const engine = (index: number): SimulatedRunner => {
    let freeAt = 0
    return {
      available: true,
      run: (rows: readonly EngineRow[]): Promise<BatchResult> => {
        const tokens = rows.reduce((sum, { inputIds }) => sum + inputIds.length, 0)
        const runMs = batchMs(tokens) * pace(batches.length)
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
    new CostModel([32, 128].map((tokens) => ({ tokens, ms: batchMs(tokens) }))),
    clock,
  )
  return {
    clock,
    dispatcher,
    runners,
    batches,
    outcomes,
    async ask(ask) {
      const { tenant = '', weight = 1, task = 'a', tokens = [25], timeoutMs = 60_000, cost, onAdmitted, signal } = ask
      const cameAt = clock.now()
      const deadline = cameAt + timeoutMs
      const end = await dispatcher
        .submit(
          tokens.map((length) => ({ task, row: rowOf(task, length), ...(cost !== undefined && { cost }) })),
          { tenant, weight, deadline, ...(onAdmitted && { onAdmitted }), ...(signal && { signal }) },
        )
        .then(
          (results) => {
            if (results.some(({ pooled }, index) => pooled[0] !== tokens[index]))
              throw new Error('a row has the answer of another')
            return 'answered'
          },
          (error: Error) => (error instanceof Problem ? error.code : error.message),
        )
      const endedAt = clock.now()
      const outcome = { ask, cameAt, endedAt, end, inTime: end === 'answered' && endedAt <= deadline }
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

/** Asks again and again: `clients` of them, each when it has its last answer, until a time. */
export function flood({ ask, clock }: Simulation, clients: number, what: Ask, untilMs: number): void {
  const client = async () => {
    while (clock.now() < untilMs) {
      const { endedAt, cameAt } = await ask(what)
      // Who was refused at once tries again a little later.
      if (endedAt === cameAt) await new Promise<void>((resolve) => void clock.after(10, resolve))
    }
  }
  for (let index = 0; index < clients; index++) void client()
}

/** Asks at moments, whatever becomes of the answers. */
export function arrivals({ ask, clock }: Simulation, times: readonly number[], what: (index: number) => Ask): void {
  times.forEach((time, index) => {
    clock.after(time - clock.now(), () => void ask(what(index)))
  })
}

/** Moments of a Poisson process; the generator is Park and Miller's. */
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
