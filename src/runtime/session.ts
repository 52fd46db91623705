// An onnxruntime session that serves batches on one execution provider, with the bank that it reads.

import { env, InferenceSession, type Tensor } from 'onnxruntime-node'
import type { Backbone } from '../backbones/backbone.js'
import type { Graph } from '../graph/graph.js'
import { serializeOnnx } from '../graph/onnx.js'
import { applyAll } from '../graph/passes/rewrite.js'
import type { Prototype } from '../petl/prototype.js'
import type { Loads } from './bank.js'
import { withDeviceLock } from './device-lock.js'
import { openDeviceSession } from './device-session.js'
import { feedsFor } from './feeds.js'
import { type Numerics, numberFormats } from './numerics.js'
import type { PackedRows } from './packed-rows.js'
import { type Provider, providers } from './providers.js'
import { servingGraph } from './serving-graph.js'
import { openBank, type SessionBank } from './session-bank.js'

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

export class EngineSession implements ServingSession {
  private constructor(
    readonly provider: Provider,
    readonly session: InferenceSession,
    /** A smaller graph for batches in which all rows have a module and no row needs hidden states. */
    readonly usual: InferenceSession | undefined,
    /** Undefined for a bare backbone. */
    readonly bank: SessionBank | undefined,
  ) {}

  static async open(
    provider: Provider,
    numerics: Numerics,
    { backbone, prototype, threads, slots }: SessionOptions,
  ): Promise<EngineSession> {
    const { graph: providerTraits, hostThreads, isDevice } = providers[provider]
    const format = await numberFormats[numerics].load()
    const traits = format.traits ?? providerTraits
    const exact = servingGraph(backbone, prototype, traits)
    const passes = await format.passes(providerTraits, { graph: exact, backbone, prototype, threads })
    const options = {
      intraOpNumThreads: hostThreads ?? threads,
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
    const openGraph = (plain: Graph) => {
      const graph = applyAll(plain, passes)
      return isDevice
        ? openDeviceSession(provider, graph, options, entries)
        : InferenceSession.create(serializeOnnx(graph), {
            ...options,
            executionProviders: [provider],
            extra: { session: entries },
          })
    }
    const shape = prototype && { slots, layers: prototype.layers, maskBytes: prototype.maskBytes }
    return onProvider(provider, async () => {
      const bank = shape && (await openBank(provider, shape, traits.bank))
      let session: InferenceSession | undefined
      try {
        session = await openGraph(exact)
        const usual = format.hasUsualGraph
          ? await openGraph(servingGraph(backbone, prototype, traits, { bareRows: false, hidden: false }))
          : undefined
        return new EngineSession(provider, session, usual, bank)
      } catch (error) {
        await session?.release()
        await bank?.release()
        throw error
      }
    })
  }

  holdsAll(slots: Int32Array): boolean {
    return this.bank?.holdsAll(slots) ?? true
  }

  async load(loads: Loads): Promise<void> {
    await this.bank?.load(loads)
  }

  async run(rows: PackedRows, slots: Int32Array<ArrayBuffer>, withHidden: boolean): Promise<SessionResult> {
    const isUsual = !withHidden && !rows.hasModule.includes(0)
    const session = isUsual ? (this.usual ?? this.session) : this.session
    const feeds = feedsFor(session, rows, this.bank?.feeds(slots))
    const { pooled, hidden } = await onProvider(this.provider, () =>
      session.run(feeds, withHidden ? ['pooled', 'hidden'] : ['pooled']),
    )
    return { pooled: floats(pooled), ...(hidden && { hidden: floats(hidden) }) }
  }

  async release(): Promise<void> {
    await onProvider(this.provider, async () => {
      await this.bank?.release()
      await this.usual?.release()
      await this.session.release()
    })
  }
}

/** Does the work; on a provider that is exclusive, with the device lock. */
const onProvider = <T>(provider: Provider, work: () => Promise<T>): Promise<T> =>
  providers[provider].isExclusive ? withDeviceLock(work) : work()

function floats(tensor: Tensor | undefined): Float32Array {
  if (!(tensor?.data instanceof Float32Array)) throw new Error('the session returned no float32 tensor')
  return tensor.data
}
