// One onnxruntime session on one execution provider: the only place that knows onnxruntime's options and tensors.

import { env, InferenceSession, Tensor } from 'onnxruntime-node'
import type { Backbone } from '../backbones/backbone.js'
import { floatsOf } from '../backbones/weights.js'
import { serializeOnnx } from '../graph/onnx.js'
import { fuseTransposedProducts } from '../graph/passes/fuse.js'
import { quantizeDense } from '../graph/passes/quantize.js'
import { applyAll, type Pass } from '../graph/passes/rewrite.js'
import type { Prototype } from '../petl/prototype.js'
import { Bank, type Loads } from './bank.js'
import { DeviceBank } from './device-bank.js'
import { inTurn } from './device-turn.js'
import { largestExactWeight } from './integer-sums.js'
import { openOnDevice } from './on-device.js'
import type { PackedRows } from './rows.js'
import { type GraphTraits, servingGraph } from './serving-graph.js'

export const providers = ['cpu', 'webgpu', 'cuda'] as const
export type Provider = (typeof providers)[number]

/** What dense layers compute in: single precision, or eight-bit integers with 32-bit sums. */
export type Numerics = 'float32' | 'int8'

export interface SessionOptions {
  readonly backbone: Backbone
  /** Absent for a bare backbone. */
  readonly prototype: Prototype | undefined
  readonly numerics: Numerics
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
}

/** WebGPU neither slices integers nor converts short ones nor, on many adapters, halves. */
const traits: Record<Provider, GraphTraits> = {
  cpu: { bank: 'uint16', gatherHalf: true },
  cuda: { bank: 'uint16', gatherHalf: true },
  webgpu: { bank: 'float32', gatherHalf: false },
}

/** What is made of the model's graph for a provider and numerics. */
async function passesOf(provider: Provider, numerics: Numerics, backbone: Backbone): Promise<readonly Pass[]> {
  const fused = provider === 'webgpu' ? [] : [fuseTransposedProducts]
  if (numerics === 'float32') return fused
  return [quantizeDense(await largestExactWeight(), floatsOf(backbone.weightsFolder)), ...fused]
}

export class EngineSession {
  private constructor(
    readonly provider: Provider,
    readonly session: InferenceSession,
    /** Absent for a bare backbone. */
    readonly bank: Bank | DeviceBank | undefined,
  ) {}

  static async open(
    provider: Provider,
    { backbone, prototype, numerics, threads, slots }: SessionOptions,
  ): Promise<EngineSession> {
    const passes = await passesOf(provider, numerics, backbone)
    const graph = applyAll(servingGraph(backbone, prototype, traits[provider]), passes)
    const options = {
      intraOpNumThreads: threads,
      // Beyond constant folding the extended fusions gain nothing on this graph and cost 45 MB.
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
      return inTurn(async () => {
        const bank = shape && (await DeviceBank.open(shape))
        try {
          return new EngineSession(provider, await openOnDevice(provider, graph, options, entries), bank)
        } catch (error) {
          await bank?.release()
          throw error
        }
      })
    const session =
      provider === 'cuda'
        ? await openOnDevice(provider, graph, options, entries)
        : await InferenceSession.create(serializeOnnx(graph), {
            ...options,
            executionProviders: [provider],
            extra: { session: entries },
          })
    return new EngineSession(provider, session, shape && new Bank(shape.slots, shape.layers, shape.maskBytes))
  }

  /** Puts bitsets into the bank. If it fails, nobody knows what the slots hold. */
  async load(loads: Loads): Promise<void> {
    await this.bank?.load(loads)
  }

  /** @param slots the bank's slot of each row; ignored by a bare backbone */
  async run(rows: PackedRows, slots: Int32Array<ArrayBuffer>, withHidden: boolean): Promise<SessionResult> {
    const { rows: B, longest: S, tokens: T } = rows
    const feeds: InferenceSession.FeedsType = {
      input_ids: new Tensor('int32', rows.inputIds, [T]),
      token_type_ids: new Tensor('int32', rows.tokenTypeIds, [T]),
      position_ids: new Tensor('int32', rows.positionIds, [T]),
      padded_index: new Tensor('int32', rows.paddedIndex, [B, S]),
      packed_index: new Tensor('int32', rows.packedIndex, [T]),
      key_bias: new Tensor('float32', rows.keyBias, [B, 1, 1, S]),
      pool_weights: new Tensor('float32', rows.poolWeights, [B, 1, S]),
      ...(this.bank && this.#bankFeeds(this.bank, slots)),
    }
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
    return this.provider === 'webgpu' ? inTurn(work) : work()
  }

  /**
   * The CPU reads the whole bank where it lies, and so does WebGPU. CUDA copies what it is fed in every run, so it is fed
   * the slots of the batch alone.
   */
  #bankFeeds(bank: Bank | DeviceBank, slots: Int32Array<ArrayBuffer>): InferenceSession.FeedsType {
    const rowSlots = (places: Int32Array<ArrayBuffer>) => new Tensor('int32', places, [slots.length])
    if (bank instanceof DeviceBank) return { bank: bank.words, row_slots: rowSlots(slots) }
    const used = this.provider === 'cuda' ? bank.compact(slots) : { words: bank.words, slots, count: bank.slots }
    const words = new Tensor('uint16', used.words, [used.count, bank.layers, bank.maskBytes])
    return { bank: words, row_slots: rowSlots(used.slots) }
  }
}

function floats(tensor: Tensor | undefined): Float32Array {
  if (!(tensor?.data instanceof Float32Array)) throw new Error('the session returned no float32 tensor')
  return tensor.data
}
