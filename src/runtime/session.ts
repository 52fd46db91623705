// One onnxruntime session on one execution provider: the only place that knows onnxruntime's options and tensors.

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
import { float16Passes, type GraphTraits, poolWeightsName, servingGraph } from './serving-graph.js'

export interface SessionOptions {
  readonly backbone: Backbone
  /** Absent for a bare backbone. */
  readonly prototype: Prototype | undefined
  /** Intra-operator threads of the CPU provider; 0 leaves the choice to onnxruntime. */
  readonly threads: number
  /** Tasks whose bitsets are in the bank at once, and so the most that one batch can mix. */
  readonly slots: number
}

// What fails is thrown and told by whoever tried it; onnxruntime's own lines on stderr would only repeat it.
env.logLevel = 'fatal'

export interface SessionResult {
  /** [B,H] */
  readonly pooled: Float32Array
  /** [T,H], if it was asked for. */
  readonly hidden?: Float32Array
  /** Rows that were computed once more in float32, for float16 did not hold their numbers. */
  readonly recomputed?: number
}

/** What the engine's thread runs batches on. */
export interface ServingSession {
  readonly provider: Provider
  /** Puts bitsets into the bank. If it fails, nobody knows what the slots hold. */
  load(loads: Loads): Promise<void>
  /** @param slots the bank's slot of each row; ignored by a bare backbone */
  run(rows: PackedRows, slots: Int32Array<ArrayBuffer>, withHidden: boolean): Promise<SessionResult>
  release(): Promise<void>
}

/** WebGPU neither slices integers nor converts short ones nor, on many adapters, halves. */
const traits: Record<Provider, GraphTraits> = {
  cpu: { bank: 'uint16', gatherHalf: true },
  cuda: { bank: 'uint16', gatherHalf: true },
  webgpu: { bank: 'float32', gatherHalf: false },
}

/** Tables are half already: they need not be converted after each look-up. */
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
  /** A graph takes only those inputs that it uses. */
  readonly #inputs: ReadonlySet<string>

  private constructor(
    readonly provider: Provider,
    readonly session: InferenceSession,
    /** Absent for a bare backbone. */
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
      // On CUDA nothing is left to compute on the CPU, and threads that wait for it only slow down the one that launches.
      intraOpNumThreads: provider === 'cuda' ? 1 : threads,
      // Beyond constant folding the extended fusions gain nothing on these graphs, and on the CPU they cost 45 MB.
      graphOptimizationLevel: 'basic',
      // A plan of memory is kept for each shape of batch, and hardly any shape comes twice.
      enableMemPattern: false,
      logSeverityLevel: 4,
    } as const
    const entries = {
      model_external_initializers_file_folder_path: backbone.weightsFolder,
      // Threads that spin between runs take the cores from tokenising and HTTP.
      intra_op: { allow_spinning: '0' },
      // Work is handed out in pieces that shrink: a thread that HTTP has held up does not hold up the others.
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

  /** Whether the bank holds all of the masks in these slots: one of a single plane lacks the second one of some. */
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

  /** Works at once, on a device that is shared in turn. */
  #use<T>(work: () => Promise<T>): Promise<T> {
    return this.provider === 'webgpu' ? withDeviceLock(work) : work()
  }

  /**
   * The CPU reads the whole bank where it lies, and so does WebGPU. CUDA copies what it is fed in every run, so it is fed
   * the slots of the batch alone.
   */
  #bankFeeds(bank: Bank | DeviceBank, slots: Int32Array<ArrayBuffer>): InferenceSession.FeedsType {
    const rowSlots = (places: Int32Array<ArrayBuffer>) => new Tensor('int32', places, [slots.length])
    if (bank instanceof DeviceBank) return { bank: bank.words, row_slots: rowSlots(slots) }
    const used = this.provider === 'cuda' ? bank.compact(slots) : { words: bank.words, slots, count: bank.slots }
    const words = new Tensor(bank.word, used.words, [used.count, bank.layers, bank.maskBytes])
    return { bank: words, row_slots: rowSlots(used.slots) }
  }
}

/** The rows by the names of the graph's inputs. */
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
  }
}

function floats(tensor: Tensor | undefined): Float32Array {
  if (!(tensor?.data instanceof Float32Array)) throw new Error('the session returned no float32 tensor')
  return tensor.data
}
