// Implementations of Inference over a dispatcher with a simulated engine, whose results depend on every bit of a row.

import { createHash } from 'node:crypto'
import type { TestContext } from 'node:test'
import type { BatchResult, EngineRow, RowResult } from '../../src/engine/engine.js'
import { InferenceHost } from '../../src/inference/host.js'
import type { Inference, Payer } from '../../src/inference/inference.js'
import { LocalInference } from '../../src/inference/local-inference.js'
import { RemoteInference } from '../../src/inference/remote-inference.js'
import { realClock } from '../../src/scheduler/clock.js'
import { CostModel } from '../../src/scheduler/cost.js'
import { Dispatcher, type DispatcherOptions } from '../../src/scheduler/dispatcher.js'
import type { Runner } from '../../src/scheduler/engine-state.js'
import type { Submission } from '../../src/scheduler/submission.js'
import { Rates } from '../../src/tenants/rates.js'
import { defaults, type Limits } from '../../src/tenants/tenant.js'
import { connectedSockets } from './sockets.js'

/** An engine that computes a batch at once, or when it is released. */
export class SimulatedEngine implements Runner {
  available = true
  onAvailable?: () => void
  readonly batches: (readonly EngineRow[])[] = []
  /** The error that the engine fails a batch with. */
  failure: (rows: readonly EngineRow[]) => Error | undefined = () => undefined
  readonly #bank = new Map<string, Uint8Array>()
  #held: (() => void)[] | undefined

  hold(): void {
    this.#held ??= []
  }

  release(): void {
    const held = this.#held ?? []
    this.#held = undefined
    for (const each of held) each()
  }

  async run(rows: readonly EngineRow[]): Promise<BatchResult> {
    this.batches.push(rows)
    for (const { maskKey, bitset } of rows) this.#bank.set(maskKey, this.#bank.get(maskKey) ?? bitset())
    await new Promise<void>((resolve) => (this.#held === undefined ? resolve() : this.#held.push(resolve)))
    const failure = this.failure(rows)
    if (failure !== undefined) throw failure
    const tokens = rows.reduce((sum, { inputIds }) => sum + inputIds.length, 0)
    const results = rows.map((row) => resultOf(row, this.#bank.get(row.maskKey) ?? new Uint8Array()))
    return { rows: results, runMs: 1, recomputed: 0, places: tokens, tokens }
  }
}

/** Values of arbitrary bits, which every part of the row determines. */
export function resultOf(row: EngineRow, bitset: Uint8Array): RowResult {
  const { inputIds, tokenTypeIds, pooling, bare = false, withHidden } = row
  const hash = createHash('sha256')
    .update(bitset)
    .update(JSON.stringify([pooling, bare, withHidden]))
  for (const ids of [inputIds, tokenTypeIds]) hash.update(JSON.stringify(Array.from(ids)))
  const bytes = hash.digest()
  const vector = new Float32Array(Uint8Array.from(bytes).buffer)
  if (!withHidden) return { pooled: vector }
  const hidden = new Uint8Array(inputIds.length * bytes.length)
  for (let token = 0; token < inputIds.length; token++)
    hidden.set(
      bytes.map((byte) => byte ^ token),
      token * bytes.length,
    )
  return { pooled: vector, hidden: new Float32Array(hidden.buffer) }
}

export interface Setup {
  readonly inference: Inference
  readonly engine: SimulatedEngine
  readonly dispatcher: Dispatcher
  readonly rates: Rates
}

export interface SetupOptions extends Partial<DispatcherOptions> {
  /** See HostOptions. */
  readonly maskBytes?: number
}

/** What runs in the process of the engines. The time of the dispatcher and of the rates stands still if `nowMs` is given. */
export function setUpEngines(options: SetupOptions = {}, nowMs?: number): Setup {
  const engine = new SimulatedEngine()
  const clock = nowMs === undefined ? realClock : { ...realClock, now: () => nowMs, pausedMs: () => 0 }
  const limits = { maxTokens: 64, maxMasks: 64, maxQueueRows: 1_000, ...options }
  const cost = new CostModel([32, 128].map((tokens) => ({ tokens, ms: 1 + tokens / 4 })))
  const dispatcher = new Dispatcher([engine], limits, cost, clock)
  const rates = new Rates(() => nowMs ?? performance.now())
  return { inference: new LocalInference({ dispatcher: () => dispatcher, rates }), engine, dispatcher, rates }
}

export const hostOf = ({ inference, dispatcher }: Setup, maskBytes = 2 ** 20): InferenceHost =>
  new InferenceHost(inference, { maskBytes, waitMs: () => dispatcher.estimatedWaitMs })

/** A worker of the host, over a Unix socket in this process. */
export async function connectWorker(t: TestContext, host: InferenceHost): Promise<RemoteInference> {
  const [here, there] = await connectedSockets(t)
  host.serve(there, 'worker 1')
  return RemoteInference.connect(here)
}

export type Implementation = 'local' | 'remote'

export async function setUp(
  t: TestContext,
  implementation: Implementation,
  options: SetupOptions = {},
  nowMs?: number,
): Promise<Setup> {
  const engines = setUpEngines(options, nowMs)
  if (implementation === 'local') return engines
  return { ...engines, inference: await connectWorker(t, hostOf(engines, options.maskBytes)) }
}

export const tenantOf = (limits: Partial<Limits> = {}, id = 'acme'): Payer => ({
  owner: id,
  tenant: { id, incarnation: 'first', share: 1, created: '', limits: { ...defaults.limits, ...limits } },
})

export const operator: Payer = { owner: 'operator' }

const defaultBitset = Uint8Array.of(1, 2, 3)

/** A row of a text with a number of tokens. */
export const submissionOf = (tokens: number, row: Partial<EngineRow> = {}, cost?: number): Submission => ({
  task: 'sentiment',
  row: {
    inputIds: Array.from({ length: tokens }, (_, place) => 100 + 7 * place),
    tokenTypeIds: Array.from({ length: tokens }, (_, place) => place % 2),
    pooling: 'mean',
    maskKey: 'mask',
    bitset: () => defaultBitset,
    withHidden: false,
    ...row,
  },
  ...(cost !== undefined && { cost }),
})

/** Resolves when a condition is true. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1))
}
