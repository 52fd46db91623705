// One onnxruntime session on one execution provider: the only place that knows onnxruntime's options and tensors.

import { env, InferenceSession, Tensor } from 'onnxruntime-node'
import type { Backbone } from '../backbones/backbone.js'
import { serializeOnnx } from '../graph/onnx.js'
import type { Prototype } from '../petl/prototype.js'
import type { Bank } from './bank.js'
import { largestExactWeight } from './integer-sums.js'
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
}

// What fails is thrown and told by whoever tried it; onnxruntime's own lines on stderr would only repeat it.
env.logLevel = 'fatal'

export interface SessionResult {
  /** [B,H] */
  readonly pooled: Float32Array
  /** [T,H], if it was asked for. */
  readonly hidden?: Float32Array
}

/**
 * WebGPU converts neither short integers nor, on many adapters, halves. A device copies what it is fed, so it is fed the
 * slots of the batch alone; the CPU reads the whole bank where it lies.
 */
const traits: Record<Provider, Omit<GraphTraits, 'quantizeTo'> & { readonly wholeBank: boolean }> = {
  cpu: { bank: 'uint16', gatherHalf: true, wholeBank: true },
  cuda: { bank: 'uint16', gatherHalf: true, wholeBank: false },
  webgpu: { bank: 'int32', gatherHalf: false, wholeBank: false },
}

export class EngineSession {
  private constructor(
    readonly provider: Provider,
    readonly session: InferenceSession,
    readonly bank: Bank | undefined,
  ) {}

  static async open(
    provider: Provider,
    { backbone, prototype, numerics, threads }: SessionOptions,
    bank: Bank | undefined,
  ): Promise<EngineSession> {
    const quantized = numerics === 'int8' && { quantizeTo: await largestExactWeight() }
    const model = serializeOnnx(servingGraph(backbone, prototype, { ...traits[provider], ...quantized }))
    const session = await InferenceSession.create(model, {
      executionProviders: [provider],
      intraOpNumThreads: threads,
      // Beyond constant folding the extended fusions gain nothing on this graph and cost 45 MB.
      graphOptimizationLevel: 'basic',
      logSeverityLevel: 4,
      extra: {
        session: {
          model_external_initializers_file_folder_path: backbone.weightsFolder,
          // Threads that spin between runs take the cores from tokenising and HTTP.
          intra_op: { allow_spinning: '0' },
          // Work is handed out in pieces that shrink: a thread that HTTP has held up does not hold up the others.
          dynamic_block_base: '4',
        },
      },
    })
    return new EngineSession(provider, session, bank)
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
    const { pooled, hidden } = await this.session.run(feeds, withHidden ? ['pooled', 'hidden'] : ['pooled'])
    return { pooled: floats(pooled), ...(hidden && { hidden: floats(hidden) }) }
  }

  async release(): Promise<void> {
    await this.session.release()
  }

  #bankFeeds(bank: Bank, slots: Int32Array<ArrayBuffer>): InferenceSession.FeedsType {
    const { wholeBank, bank: type } = traits[this.provider]
    const used = wholeBank ? { words: bank.words, slots, count: bank.slots } : bank.compact(slots)
    const dims = [used.count, bank.layers, bank.maskBytes]
    return {
      bank:
        type === 'uint16'
          ? new Tensor('uint16', used.words, dims)
          : new Tensor('int32', Int32Array.from(used.words), dims),
      row_slots: new Tensor('int32', used.slots, [slots.length]),
    }
  }
}

function floats(tensor: Tensor | undefined): Float32Array {
  if (!(tensor?.data instanceof Float32Array)) throw new Error('the session returned no float32 tensor')
  return tensor.data
}
