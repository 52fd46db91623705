// A vector.

import type { Steps } from '../../steps.js'
import { denseInSteps } from '../heads.js'
import { bytesAround } from '../prediction-costs.js'
import type { ServedProblem, TaskOf } from './served-problem.js'

/** One number of a vector in JSON. */
const bytesOfNumber = 24

export const featureExtraction: ServedProblem<TaskOf<'feature_extraction'>> = {
  readsHidden: false,
  takesThreshold: false,
  decides: false,
  *predictInSteps(task, _, { pooled }) {
    return { embedding: yield* embeddingInSteps(task, pooled) }
  },
  costOf({ projection }, _labels, _topK, hiddenSize) {
    const { inputs, outputs } = projection ?? { inputs: 0, outputs: hiddenSize }
    return { multiplyAdds: inputs * outputs, values: outputs, bytes: bytesAround + bytesOfNumber * outputs }
  },
  describe: ({ normalize, projection: layer }) => ({
    normalize,
    ...(layer && { projection: { inputs: layer.inputs, outputs: layer.outputs, activation: layer.activation } }),
  }),
}

function* embeddingInSteps(
  { projection, normalize }: TaskOf<'feature_extraction'>,
  pooled: Float32Array,
): Steps<number[]> {
  const vector = projection ? Float32Array.from(yield* denseInSteps(projection, pooled)) : pooled
  return Array.from(normalize ? normalized(vector) : vector)
}

/** The vector scaled to an L2 norm of 1. A zero vector is unchanged. */
function normalized(vector: Float32Array): Float32Array {
  const norm = Math.hypot(...vector)
  return norm === 0 ? vector : vector.map((value) => value / norm)
}
