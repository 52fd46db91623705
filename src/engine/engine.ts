// The engine as the rest of the server sees it: it takes a batch of rows and gives back their vectors. It knows
// masks by key and bytes, and no task.

import type { Worker } from 'node:worker_threads'
import type { Prototype } from '../petl/prototype.js'
import { Problem } from '../problem.js'
import { within } from '../running-time.js'
import { startThread } from '../runtime/device-lock.js'
import { packRows, type TokenRow } from '../runtime/packed-rows.js'
import type { ProviderChoice, ProviderRequest } from '../runtime/provider-choice.js'
import type { SessionOptions } from '../runtime/session.js'
import { disableTf32 } from '../runtime/tf32.js'
import type { BatchTiming } from '../runtime/warm-up.js'
import { trackAbandonedThread } from './abandoned-threads.js'
import { EngineLost, type Loss, lossOf } from './engine-lost.js'
import type { RunRequest, ThreadMessage, ThreadOptions } from './protocol.js'
import { type SlotCounters, SlotTable } from './slots.js'

/** What a thread without batches may take to end, in milliseconds. */
export const closeTimeoutMs = 10_000

export interface EngineOptions extends SessionOptions, ProviderRequest {
  /** See packRows. */
  readonly computePadding?: boolean
  /** How long the thread may take to answer a warm-up batch, in milliseconds; by default as long as it needs. */
  readonly startTimeoutMs?: number
}

export interface EngineRow extends TokenRow {
  /** Which effective bitset, by a name that never means another one: the digest of the task file. */
  readonly maskKey: string
  /** [planes, layers, ⌈n/8⌉] bytes, of one plane or two; asked for only if the bank does not hold them. */
  readonly bitset: () => Uint8Array
  /** The row's hidden states are wanted beside its pooled vector. */
  readonly withHidden: boolean
}

export interface RowResult {
  /** [H] */
  readonly pooled: Float32Array
  /** [row's tokens, H], where it was asked for. */
  readonly hidden?: Float32Array
}

export interface BatchResult {
  readonly rows: readonly RowResult[]
  /** Time that the engine's thread worked on the batch, in milliseconds. */
  readonly runMs: number
  /** Rows that were computed once more in float32, for float16 did not hold their numbers. */
  readonly recomputed: number
  /** B · S and T: places of the padded layout, and tokens. */
  readonly places: number
  readonly tokens: number
}

type Result = Extract<ThreadMessage, { kind: 'result' }>
type Pending = { readonly resolve: (result: Result) => void; readonly reject: (error: Error) => void }

export class Engine {
  readonly #slots: SlotTable
  readonly #pending = new Map<number, Pending>()
  #nextId = 0
  #loss: Loss | undefined
  #onLost: (loss: Loss) => void = () => {}

  private constructor(
    readonly options: EngineOptions,
    readonly choice: ProviderChoice,
    /** What the batches took that warmed it up: one of them at least. */
    readonly timings: readonly BatchTiming[],
    readonly worker: Worker,
    /** Resolves with the reason when the thread ends. */
    readonly ended: Promise<Loss>,
    /** What the thread looks at before each batch: 1 if it is to end instead. */
    readonly abandoned: Int32Array<SharedArrayBuffer>,
  ) {
    this.#slots = new SlotTable(options.slots)
    worker.on('message', (message: ThreadMessage) => this.#receive(message))
    void ended.then((loss) => this.#lose(loss))
  }

  /**
   * Starts the thread and waits until the model has answered a warm-up batch.
   * @param signal gives the start up
   * @throws Problem `provider_unavailable`, `invalid_backbone`, `invalid_prototype`, `prototype_mismatch`; EngineLost if it
   *   is given up or takes too long: the thread is then left behind
   */
  static async start(options: EngineOptions, signal?: AbortSignal): Promise<Engine> {
    disableTf32()
    const { backbone, prototype, numerics, threads, provider, slots } = options
    const abandoned = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT))
    const thread: ThreadOptions = { backbone, prototype, numerics, threads, provider, slots, abandoned }
    const worker = startThread(new URL('./thread.js', import.meta.url), thread, 'engine')
    const ended = new Promise<Loss>((resolve) => {
      worker.once('error', (error: Error) => resolve(lossOf(error)))
      worker.once('exit', (code) => resolve({ cause: 'failed', reason: `the engine's thread ended with code ${code}` }))
    })
    const answered = new Promise<ThreadMessage>((resolve) => worker.once('message', resolve))
    const { startTimeoutMs = Number.POSITIVE_INFINITY } = options
    const first = await within(startTimeoutMs, Promise.race([answered, ended]), signal)
    if (first === undefined) {
      abandonWorker(worker, abandoned)
      const reason = signal?.aborted
        ? 'the engine was closed while it started'
        : `the engine did not start within ${startTimeoutMs} ms, the limit of the engine-start-timeout-ms setting`
      throw new EngineLost({ cause: 'hung', reason }, true)
    }
    if ('cause' in first) throw new Error(first.reason)
    if (first.kind === 'failed')
      throw first.code
        ? new Problem(first.code, first.message)
        : new Error(`the engine did not start: ${first.message}`)
    if (first.kind !== 'ready') throw new Error(`the engine's thread began with "${first.kind}"`)
    return new Engine(options, first.choice, first.timings, worker, ended, abandoned)
  }

  /** Counters of the bank, live. */
  get bank(): Readonly<SlotCounters> {
    return this.#slots.counters
  }

  /**
   * Runs a batch. Rows may belong to any tasks, at most `slots` different ones.
   * @throws EngineLost if the thread ends or is given up; Error if onnxruntime fails on this batch
   */
  async run(rows: readonly EngineRow[]): Promise<BatchResult> {
    const packed = packRows(rows, this.options.computePadding)
    const { prototype } = this.options
    const { slots, loads } = prototype ? this.#assignSlots(rows, prototype) : noSlots()
    const withHidden = rows.some((row) => row.withHidden)
    // The arrays go to the thread: what is needed of them afterwards is kept.
    const { longest, tokens } = packed
    const firstTokens = Int32Array.from(packed.cumulativeLengths)
    const request = { id: this.#nextId++, rows: packed, slots, loads, withHidden }
    const { pooled, hidden, recomputed, runMs } = await this.#send(request)
    const H = this.options.backbone.dims.hiddenSize
    const results = rows.map((row, b): RowResult => {
      const vector = pooled.subarray(b * H, (b + 1) * H)
      if (!row.withHidden || hidden === undefined) return { pooled: vector }
      const first = firstTokens[b] ?? 0
      return { pooled: vector, hidden: hidden.subarray(first * H, (first + row.inputIds.length) * H) }
    })
    return { rows: results, runMs, recomputed, places: rows.length * longest, tokens }
  }

  /** Lets the batches that were sent finish, then ends the thread. One that takes longer than so many milliseconds is given up. */
  async close(withinMs = closeTimeoutMs): Promise<void> {
    this.worker.ref()
    this.worker.postMessage('stop')
    const ended = await within(withinMs, this.ended)
    if (ended === undefined) this.abandon(`the engine did not end within ${withinMs} ms`)
    this.worker.unref()
  }

  /** Fails all batches at once. The thread is left behind, and ends as soon as what it runs returns. */
  abandon(reason: string): void {
    if (this.#loss) return
    abandonWorker(this.worker, this.abandoned)
    this.#lose({ cause: 'hung', reason })
  }

  /** Calls back when the engine takes no more batches; at once if it takes none already. */
  whenLost(callback: (loss: Loss) => void): void {
    this.#onLost = callback
    if (this.#loss) callback(this.#loss)
  }

  #lose(loss: Loss): void {
    if (this.#loss) return
    this.#loss = loss
    // Before its batches fail it is known that the engine takes no other.
    this.#onLost(loss)
    // Batches run in the order in which they were sent: the first one is running.
    let begun = true
    for (const { reject } of this.#pending.values()) {
      reject(new EngineLost(loss, begun))
      begun = false
    }
    this.#pending.clear()
  }

  #assignSlots(rows: readonly EngineRow[], { layers, maskBytes }: Prototype): Pick<RunRequest, 'slots' | 'loads'> {
    const size = layers * maskBytes
    const fresh = new Map<string, Uint8Array>()
    // All are looked at before a slot is given away: a bitset that does not fit must not leave a slot with another's.
    for (const { maskKey, bitset } of rows) {
      if (fresh.has(maskKey) || this.#slots.has(maskKey)) continue
      const bytes = bitset()
      if (bytes.byteLength !== size && bytes.byteLength !== 2 * size)
        throw new Error(
          `mask ${maskKey} has a bitset of ${bytes.byteLength} bytes; the bank takes ${size} or twice that`,
        )
      fresh.set(maskKey, bytes)
    }
    const { slots, loads } = this.#slots.assign(rows.map(({ maskKey }) => maskKey))
    const loaded = loads.map(({ key }) => fresh.get(key) ?? new Uint8Array())
    const bitsets = new Uint8Array(loaded.reduce((sum, { byteLength }) => sum + byteLength, 0))
    let first = 0
    for (const bitset of loaded) {
      bitsets.set(bitset, first)
      first += bitset.byteLength
    }
    const planes = loaded.map(({ byteLength }) => byteLength / size)
    return { slots, loads: { slots: loads.map(({ slot }) => slot), planes, bitsets } }
  }

  #send(request: RunRequest): Promise<Result> {
    return new Promise((resolve, reject) => {
      if (this.#loss) return reject(new EngineLost(this.#loss, false))
      this.#pending.set(request.id, { resolve, reject })
      this.worker.postMessage(request, [request.loads.bitsets.buffer, request.rows.inputIds.buffer])
    })
  }

  #receive(message: ThreadMessage): void {
    if (message.kind === 'lost' && this.#loss === undefined) {
      // The thread releases its session before it ends, which may take long or never return.
      trackAbandonedThread(this.worker)
      this.#lose(message.loss)
    }
    if (message.kind !== 'result' && message.kind !== 'error') return
    const pending = this.#pending.get(message.id)
    this.#pending.delete(message.id)
    if (message.kind === 'result') pending?.resolve(message)
    else pending?.reject(new Error(`onnxruntime failed on a batch: ${message.message}`))
  }
}

/** Leaves a thread behind, and tells it to end without running what was sent to it. */
function abandonWorker(worker: Worker, abandoned: Int32Array<SharedArrayBuffer>): void {
  Atomics.store(abandoned, 0, 1)
  worker.postMessage('stop')
  trackAbandonedThread(worker)
}

const noSlots = (): Pick<RunRequest, 'slots' | 'loads'> => ({
  slots: new Int32Array(0),
  loads: { slots: [], planes: [], bitsets: new Uint8Array(0) },
})
