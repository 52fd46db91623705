// An onnxruntime session for any graph, with arrays as inputs and outputs. Training runs its steps with it.

import { InferenceSession, Tensor } from 'onnxruntime-node'
import type { Graph } from '../graph/graph.js'
import { serializeOnnx } from '../graph/onnx.js'
import { providerUnavailable } from './provider-errors.js'
import { type Compute, hostProvider, providers } from './providers.js'
import { disableTf32 } from './tf32.js'

/** A dense array, row-major. */
export interface NumberArray {
  readonly shape: readonly number[]
  readonly data: Float32Array | Int32Array
}

export interface GraphSessionOptions extends Compute {
  /** Folder of the files that hold the graph's external constants. */
  readonly directory?: string
}

export class GraphSession {
  private constructor(readonly session: InferenceSession) {}

  /** @throws Problem `provider_unavailable` */
  static async open(graph: Graph, options: GraphSessionOptions): Promise<GraphSession> {
    const { directory, provider = hostProvider, threads } = options
    disableTf32()
    const session = await InferenceSession.create(serializeOnnx(graph), {
      executionProviders: [provider],
      intraOpNumThreads: threads,
      graphOptimizationLevel: 'basic',
      logSeverityLevel: 4,
      extra: {
        session: {
          ...(directory !== undefined && { model_external_initializers_file_folder_path: directory }),
          // Threads spin for work within a run, which is an eighth faster, but sleep between runs.
          force_spinning_stop: '1',
        },
      },
    }).catch((error: Error) => {
      throw providers[provider].isDevice ? providerUnavailable(provider, error) : error
    })
    return new GraphSession(session)
  }

  /**
   * Runs the graph.
   * @param inputs by name; float32 or int32 by the type of the array
   * @returns the outputs by name; all of them must be float32
   */
  async run(inputs: Readonly<Record<string, NumberArray>>): Promise<Map<string, Float32Array>> {
    const feeds = Object.fromEntries(Object.entries(inputs).map(([name, array]) => [name, tensorOf(array)]))
    const results = await this.session.run(feeds)
    return new Map(Object.entries(results).map(([name, { data }]) => [name, floats(name, data)]))
  }

  async release(): Promise<void> {
    await this.session.release()
  }
}

const tensorOf = ({ shape, data }: NumberArray): Tensor =>
  data instanceof Float32Array ? new Tensor('float32', data, shape) : new Tensor('int32', data, shape)

function floats(name: string, data: Tensor['data']): Float32Array {
  if (data instanceof Float32Array) return data
  throw new Error(`output "${name}" is not float32`)
}
