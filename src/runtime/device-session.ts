// Sessions whose operators all run on the device. By default onnxruntime silently runs unsupported operators on the CPU, and
// copies their inputs and outputs between device and CPU in every run.

import { InferenceSession } from 'onnxruntime-node'
import type { Graph } from '../graph/graph.js'
import { serializeOnnx } from '../graph/onnx.js'
import { UnsuitableDevice } from './provider-errors.js'
import type { Provider } from './providers.js'

type Options = Omit<InferenceSession.SessionOptions, 'executionProviders' | 'extra'>

/**
 * @param entries session configuration entries of onnxruntime, without their "session." prefix
 * @throws UnsuitableDevice if an operator of the graph would run on the CPU
 */
export async function openDeviceSession(
  provider: Provider,
  graph: Graph,
  options: Options = {},
  entries: Readonly<Record<string, unknown>> = {},
): Promise<InferenceSession> {
  try {
    return await InferenceSession.create(serializeOnnx(graph), {
      graphOptimizationLevel: 'basic',
      logSeverityLevel: 4,
      ...options,
      executionProviders: [provider],
      extra: { session: { ...entries, disable_cpu_ep_fallback: '1' } },
    })
  } catch (error) {
    if (!(error as Error).message.includes('fallback to CPU EP has been explicitly disabled')) throw error
    throw new UnsuitableDevice('it lacks operators of the graph, which would run on the CPU in every batch')
  }
}
