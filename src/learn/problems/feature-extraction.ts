// Vectors of texts, trained on pairs whose similarity is known.

import type { ProblemTraits } from './learned-problem.js'
import { exampleNumber, numberTraits } from './numbers.js'

// The target of the cosine of two vectors is the label, scaled from its range to [0, 1]. The lowest label means that
// texts are unrelated, so their vectors should be perpendicular, not opposite. CosineSimilarityLoss of
// sentence-transformers scales scores from 0 to 5 in the same way (Reimers and Gurevych 2019).
export const featureExtraction: ProblemTraits = {
  ...numberTraits,
  unit: 'pair',
  targets: (_, example) => [exampleNumber(example)],
  lossTargets: ({ range: [low, high] = [0, 1] }, targets) => targets.map((target) => (target - low) / (high - low)),
  labelsOf: (_, targets) => targets,
  predictions: (_, outputs) => outputs,
  metrics: () => ['spearman', 'pearson', 'pearson_and_spearman'],
  servedOutputs: (_space, _example, [first, second]) => [cosine(first?.embedding ?? [], second?.embedding ?? [])],
}

function cosine(a: readonly number[], b: readonly number[]): number {
  const dot = (x: readonly number[], y: readonly number[]) => x.reduce((sum, value, i) => sum + value * (y[i] ?? 0), 0)
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b))
}
