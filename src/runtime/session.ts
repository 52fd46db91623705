// An onnxruntime session that serves batches on one execution provider, with the bank that it reads.

import { env, InferenceSession, Tensor } from 'onnxruntime-node'
import type { Backbone } from '../backbones/backbone.js'
import { floatsOf } from '../backbones/weights.js'
import type { Graph } from '../graph/graph.js'
import { serializeOnnx } from '../graph/onnx.js'
import { fuseTransposedProducts } from '../graph/passes/fuse.js'
import { quantizeDense } from '../graph/passes/quantize.js'
import { applyAll } from '../graph/passes/rewrite.js'
import type { Prototype } from '../petl/prototype.js'
import { Bank, type Loads } from './bank.js'
import { DeviceBank } from './device-bank.js'
import { withDeviceLock } from './device-lock.js'
import { openDeviceSession } from './device-session.js'
import type { Numerics, Provider } from './execution-providers.js'
import { largestExactWeight } from './int8-range.js'
import type { PackedRows } from './packed-rows.js'
import { float16Passes, type GraphTraits, hasModuleName, poolWeightsName, servingGraph } from './serving-graph.js'

export interface SessionOptions {
  readonly backbone: Backbone
  /** Undefined for a bare backbone. */
  readonly prototype: Prototype | undefined
  /** Intra-operator threads of the CPU provider; 0 leaves the choice to onnxruntime. */
  readonly threads: number
  /** Number of masks that the bank can hold, and so the most different masks in one batch. */
  readonly slots: number
}

// Errors are thrown, and callers report them. onnxruntime's own log lines on stderr would only repeat them.
env.logLevel = 'fatal'

export interface SessionResult {
  /** [B,H] */
  readonly pooled: Float32Array
  /** [T,H], if requested. */
  readonly hidden?: Float32Array
  /** Number of rows that were recomputed in float32, because float16 overflowed. */
  readonly recomputed?: number
}

/** A session that runs the batches of an engine. */
export interface ServingSession {
  readonly provider: Provider
  /** Loads bitsets into the bank. After an error the contents of the slots are undefined. */
  load(loads: Loads): Promise<void>
  /** @param slots the bank's slot of each row; ignored by a bare backbone */
  run(rows: PackedRows, slots: Int32Array<ArrayBuffer>, withHidden: boolean): Promise<SessionResult>
  release(): Promise<void>
}

/** WebGPU can neither slice integers nor convert 16-bit integers, and many adapters do not support float16. */
const traits: Record<Provider, GraphTraits> = {
  cpu: { bank: 'uint16', gatherHalf: true },
  cuda: { bank: 'uint16', gatherHalf: true },
  webgpu: { bank: 'float32', gatherHalf: false },
}

/** The embedding tables are float16 already, so lookups need no conversion. */
const float16Traits: GraphTraits = { bank: 'uint8', gatherHalf: false }

async function graphOf(
  provider: Provider,
  numerics: Numerics,
  { backbone, prototype }: Pick<SessionOptions, 'backbone' | 'prototype'>,
): Promise<Graph> {
  const graph = servingGraph(backbone, prototype, numerics === 'float16' ? float16Traits : traits[provider])
  switch (numerics) {
    case 'float16':
      return applyAll(graph, float16Passes)
    case 'int8': {
      const quantized = quantizeDense(await largestExactWeight(), floatsOf(backbone.weightsFolder))
      return applyAll(graph, [quantized, fuseTransposedProducts])
    }
    case 'float32':
      return provider === 'webgpu' ? graph : fuseTransposedProducts(graph)
  }
}

export class EngineSession implements ServingSession {
  /** Names of the inputs that the graph uses; onnxruntime rejects others. */
  readonly #inputs: ReadonlySet<string>

  private constructor(
    readonly provider: Provider,
    readonly session: InferenceSession,
    /** Undefined for a bare backbone. */
    readonly bank: Bank | DeviceBank | undefined,
  ) {
    this.#inputs = new Set(session.inputNames)
  }

  static async open(
    provider: Provider,
    numerics: Numerics,
    { backbone, prototype, threads, slots }: SessionOptions,
  ): Promise<EngineSession> {
    const graph = await graphOf(provider, numerics, { backbone, prototype })
    const options = {
      // On CUDA nothing runs on the CPU, and waiting threads would only slow down the thread that launches kernels.
      intraOpNumThreads: provider === 'cuda' ? 1 : threads,
      // Besides constant folding, the extended fusions gain nothing on these graphs, and cost 45 MB on the CPU.
      graphOptimizationLevel: 'basic',
      // onnxruntime would keep a memory plan per batch shape, but hardly any shape occurs twice.
      enableMemPattern: false,
      logSeverityLevel: 4,
    } as const
    const entries = {
      model_external_initializers_file_folder_path: backbone.weightsFolder,
      // Threads that spin between runs would take the cores from tokenisation and HTTP.
      intra_op: { allow_spinning: '0' },
      // Work is split into pieces of decreasing size, so that the others need not wait for a thread that HTTP has delayed.
      dynamic_block_base: '4',
    }
    const shape = prototype && { slots, layers: prototype.layers, maskBytes: prototype.maskBytes }
    if (provider === 'webgpu')
      return withDeviceLock(async () => {
        const bank = shape && (await DeviceBank.open(shape))
        try {
          return new EngineSession(provider, await openDeviceSession(provider, graph, options, entries), bank)
        } catch (error) {
          await bank?.release()
          throw error
        }
      })
    const session =
      provider === 'cuda'
        ? await openDeviceSession(provider, graph, options, entries)
        : await InferenceSession.create(serializeOnnx(graph), {
            ...options,
            executionProviders: [provider],
            extra: { session: entries },
          })
    const word = numerics === 'float16' ? 'uint8' : 'uint16'
    return new EngineSession(provider, session, shape && new Bank(shape.slots, shape.layers, shape.maskBytes, word))
  }

  /** Whether the bank holds all planes of the masks in these slots; see Bank.holdsAll. */
  holdsAll(slots: Int32Array): boolean {
    return !(this.bank instanceof Bank) || this.bank.holdsAll(slots)
  }

  async load(loads: Loads): Promise<void> {
    await this.bank?.load(loads)
  }

  async run(rows: PackedRows, slots: Int32Array<ArrayBuffer>, withHidden: boolean): Promise<SessionResult> {
    const all = { ...feedsOf(rows), ...(this.bank && this.#bankFeeds(this.bank, slots)) }
    const feeds = Object.fromEntries(Object.entries(all).filter(([name]) => this.#inputs.has(name)))
    const { pooled, hidden } = await this.#use(() =>
      this.session.run(feeds, withHidden ? ['pooled', 'hidden'] : ['pooled']),
    )
    return { pooled: floats(pooled), ...(hidden && { hidden: floats(hidden) }) }
  }

  async release(): Promise<void> {
    const { bank, session } = this
    await this.#use(async () => {
      if (bank instanceof DeviceBank) await bank.release()
      await session.release()
    })
  }

  /** Does the work; on WebGPU with the device lock. */
  #use<T>(work: () => Promise<T>): Promise<T> {
    return this.provider === 'webgpu' ? withDeviceLock(work) : work()
  }

  /**
   * The CPU and WebGPU read the whole bank in place. CUDA copies its inputs to the device in every run, so it gets only the
   * slots of the batch.
   */
  #bankFeeds(bank: Bank | DeviceBank, slots: Int32Array<ArrayBuffer>): InferenceSession.FeedsType {
    const rowSlots = (places: Int32Array<ArrayBuffer>) => new Tensor('int32', places, [slots.length])
    if (bank instanceof DeviceBank) return { bank: bank.words, row_slots: rowSlots(slots) }
    const used = this.provider === 'cuda' ? bank.compact(slots) : { words: bank.words, slots, count: bank.slots }
    const words = new Tensor(bank.word, used.words, [used.count, bank.layers, bank.maskBytes])
    return { bank: words, row_slots: rowSlots(used.slots) }
  }
}

/** The arrays of the rows as tensors, by the names of the graph's inputs. */
export function feedsOf(rows: PackedRows): Readonly<Record<string, Tensor>> {
  const { rows: B, longest: S, tokens: T } = rows
  return {
    input_ids: new Tensor('int32', rows.inputIds, [T]),
    token_type_ids: new Tensor('int32', rows.tokenTypeIds, [T]),
    position_ids: new Tensor('int32', rows.positionIds, [T]),
    padded_index: new Tensor('int32', rows.paddedIndex, [B, S]),
    packed_index: new Tensor('int32', rows.packedIndex, [T]),
    token_offset: new Tensor('int32', rows.tokenOffset, [B, S]),
    cumulative_lengths: new Tensor('int32', rows.cumulativeLengths, [B + 1]),
    key_bias: new Tensor('float32', rows.keyBias, [B, 1, 1, S]),
    [poolWeightsName]: new Tensor('float32', rows.poolWeights, [B, 1, S]),
    [hasModuleName]: new Tensor('float32', rows.hasModule, [B, 1, 1]),
  }
}

function floats(tensor: Tensor | undefined): Float32Array {
  if (!(tensor?.data instanceof Float32Array)) throw new Error('the session returned no float32 tensor')
  return tensor.data
}
