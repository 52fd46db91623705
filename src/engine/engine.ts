// An engine, as the rest of the server sees it: it takes a batch of rows and returns their vectors. It runs them in a worker
// thread (thread.ts). It identifies masks by a key and does not know tasks.

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

/** How long an idle thread may take to end, in milliseconds. */
export const closeTimeoutMs = 10_000

export interface EngineOptions extends SessionOptions, ProviderRequest {
  /** See packRows. */
  readonly computePadding?: boolean
  /** How long the thread may take to load the model and run the warm-up batches, in milliseconds. Default: no limit. */
  readonly startTimeoutMs?: number
}

/** The mask key of all bare rows. Their bitset is zeros. */
export const bareMaskKey = 'bare'

export interface EngineRow extends TokenRow {
  /** Identifies the effective bitset: the digest of the task file. A key never stands for two bitsets. */
  readonly maskKey: string
  /** The bitset, [planes, layers, ⌈n/8⌉] bytes with 1 or 2 planes. Called only if the bank does not hold it. */
  readonly bitset: () => Uint8Array
  /** Whether to return hidden states in addition to the pooled vector. */
  readonly withHidden: boolean
}

export interface RowResult {
  /** [H] */
  readonly pooled: Float32Array
  /** [tokens of the row, H], if requested. */
  readonly hidden?: Float32Array
}

export interface BatchResult {
  readonly rows: readonly RowResult[]
  /** How long the engine's thread worked on the batch, in milliseconds. */
  readonly runMs: number
  /** Number of rows that were recomputed in float32, because float16 overflowed. */
  readonly recomputed: number
  /** Positions of the padded layout: B · S. */
  readonly places: number
  /** T */
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
    /** Times of the warm-up batches; at least one. */
    readonly timings: readonly BatchTiming[],
    readonly worker: Worker,
    /** Resolves with the cause when the thread ends. */
    readonly ended: Promise<Loss>,
    /** A flag that the thread reads before each batch: with 1 it ends instead. */
    readonly abandoned: Int32Array<SharedArrayBuffer>,
  ) {
    this.#slots = new SlotTable(options.slots)
    worker.on('message', (message: ThreadMessage) => this.#receive(message))
    void ended.then((loss) => this.#lose(loss))
  }

  /**
   * Starts the thread and waits until the model has run its warm-up batches.
   * @param signal cancels the start
   * @throws Problem `provider_unavailable`, `invalid_backbone`, `invalid_prototype`, `prototype_mismatch`; EngineLost if the
   *   start is cancelled or takes too long, in which case the thread is abandoned
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
    const firstMessage = new Promise<ThreadMessage>((resolve) => worker.once('message', resolve))
    const { startTimeoutMs = Number.POSITIVE_INFINITY } = options
    const first = await within(startTimeoutMs, Promise.race([firstMessage, ended]), signal)
    if (first === undefined) {
      abandonWorker(worker, abandoned)
      const reason = signal?.aborted
        ? 'the engine was closed while it was starting'
        : `the engine did not start within ${startTimeoutMs} ms, the limit of the engine-start-timeout-ms setting`
      throw new EngineLost({ cause: 'hung', reason }, true)
    }
    if ('cause' in first) throw new Error(first.reason)
    if (first.kind === 'failed')
      throw first.code
        ? new Problem(first.code, first.message)
        : new Error(`the engine did not start: ${first.message}`)
    if (first.kind !== 'ready') throw new Error(`the engine's thread sent "${first.kind}" first; expected "ready"`)
    return new Engine(options, first.choice, first.timings, worker, ended, abandoned)
  }

  /** Counters of the bank; the object is updated by later batches. */
  get bank(): Readonly<SlotCounters> {
    return this.#slots.counters
  }

  /**
   * Runs a batch. Its rows may have at most `slots` different masks.
   * @throws EngineLost if the thread ends or is abandoned; Error if onnxruntime fails on this batch
   */
  async run(rows: readonly EngineRow[]): Promise<BatchResult> {
    const packed = packRows(rows, this.options.computePadding)
    const { prototype } = this.options
    const { slots, loads } = prototype ? this.#assignSlots(rows, prototype) : noSlots()
    // The graph computes weighted sums of hidden states. A maximum is computed here.
    const withHidden = rows.some((row) => row.withHidden || row.pooling === 'max')
    // The arrays are transferred to the thread, so values that are needed later are copied first.
    const { longest, tokens } = packed
    const firstTokens = Int32Array.from(packed.cumulativeLengths)
    const request = { id: this.#nextId++, rows: packed, slots, loads, withHidden }
    const { pooled, hidden, recomputed, runMs } = await this.#send(request)
    const H = this.options.backbone.dims.hiddenSize
    const results = rows.map((row, b): RowResult => {
      const first = firstTokens[b] ?? 0
      const own = hidden?.subarray(first * H, (first + row.inputIds.length) * H)
      const vector = row.pooling === 'max' && own ? largest(own, H) : pooled.subarray(b * H, (b + 1) * H)
      return row.withHidden && own ? { pooled: vector, hidden: own } : { pooled: vector }
    })
    return { rows: results, runMs, recomputed, places: rows.length * longest, tokens }
  }

  /** Lets the batches that were sent finish, then ends the thread. After the timeout the thread is abandoned. */
  async close(withinMs = closeTimeoutMs): Promise<void> {
    this.worker.ref()
    this.worker.postMessage('stop')
    const ended = await within(withinMs, this.ended)
    if (ended === undefined) this.abandon(`the engine did not end within ${withinMs} ms`)
    this.worker.unref()
  }

  /** Fails all batches at once and abandons the thread, which ends as soon as its native call returns. */
  abandon(reason: string): void {
    if (this.#loss) return
    abandonWorker(this.worker, this.abandoned)
    this.#lose({ cause: 'hung', reason })
  }

  /** Calls back when the engine is lost; at once if it is lost already. */
  whenLost(callback: (loss: Loss) => void): void {
    this.#onLost = callback
    if (this.#loss) callback(this.#loss)
  }

  #lose(loss: Loss): void {
    if (this.#loss) return
    this.#loss = loss
    // First report the loss, so that nobody sends the failed rows to this engine again.
    this.#onLost(loss)
    // Batches run in the order in which they were sent, so only the first one is running.
    let started = true
    for (const { reject } of this.#pending.values()) {
      reject(new EngineLost(loss, started))
      started = false
    }
    this.#pending.clear()
  }

  #assignSlots(rows: readonly EngineRow[], { layers, maskBytes }: Prototype): Pick<RunRequest, 'slots' | 'loads'> {
    const size = layers * maskBytes
    const fresh = new Map<string, Uint8Array>()
    // Check all bitsets before any slot is assigned: after an error, a slot must not be assigned without its bitset.
    for (const { maskKey, bitset } of rows) {
      if (fresh.has(maskKey) || this.#slots.has(maskKey)) continue
      const bytes = bitset()
      if (bytes.byteLength !== size && bytes.byteLength !== 2 * size)
        throw new Error(`the bitset of mask ${maskKey} has ${bytes.byteLength} bytes; expected ${size} or ${2 * size}`)
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
      // The thread now releases its session, which may take long or hang.
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

/** The largest value of all tokens in each dimension, from hidden states [tokens, H]. */
function largest(hidden: Float32Array, H: number): Float32Array {
  const vector = hidden.slice(0, H)
  for (let at = H; at < hidden.length; at++) {
    const value = hidden[at] ?? 0
    if (value > (vector[at % H] ?? 0)) vector[at % H] = value
  }
  return vector
}

/** Stops waiting for a thread, and makes it end before it runs another batch. */
function abandonWorker(worker: Worker, abandoned: Int32Array<SharedArrayBuffer>): void {
  Atomics.store(abandoned, 0, 1)
  worker.postMessage('stop')
  trackAbandonedThread(worker)
}

const noSlots = (): Pick<RunRequest, 'slots' | 'loads'> => ({
  slots: new Int32Array(0),
  loads: { slots: [], planes: [], bitsets: new Uint8Array(0) },
})
