// Sessions of a GPU's provider all of whose operators run there. onnxruntime would compute on the CPU, without a word,
// what a provider lacks, and carry its inputs and outputs there and back in every run.

import { InferenceSession } from 'onnxruntime-node'
import type { Graph } from '../graph/graph.js'
import { serializeOnnx } from '../graph/onnx.js'

/** A graph with operators that a provider does not run. */
export class NotOnDevice extends Error {}

/**
 * Opens a session on WebGPU.
 * @throws NotOnDevice if an operator of the graph would run on the CPU
 */
export async function openOnWebGpu(
  graph: Graph,
  { extra, ...options }: InferenceSession.SessionOptions = {},
): Promise<InferenceSession> {
  try {
    return await InferenceSession.create(serializeOnnx(graph), {
      graphOptimizationLevel: 'basic',
      logSeverityLevel: 4,
      ...options,
      executionProviders: ['webgpu'],
      extra: { ...extra, session: { ...sessionEntries(extra), disable_cpu_ep_fallback: '1' } },
    })
  } catch (error) {
    if (!(error as Error).message.includes('fallback to CPU EP has been explicitly disabled')) throw error
    throw new NotOnDevice('it does not run all operators of the graph, and some would be computed on the CPU')
  }
}

const sessionEntries = (extra: InferenceSession.SessionOptions['extra']): object =>
  (extra?.session as object | undefined) ?? {}
