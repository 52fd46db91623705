// One class out of several.

import { classify, logitsInSteps } from '../heads.js'
import { classificationCost } from '../prediction-costs.js'
import type { ServedProblem, TaskOf } from './served-problem.js'

export const singleLabel: ServedProblem<TaskOf<'single_label_classification'>> = {
  readsHidden: false,
  takesThreshold: false,
  *predictInSteps({ labels, head, thresholds }, _, { pooled }, options) {
    return yield* classify(labels, yield* logitsInSteps(head, pooled), options, thresholds)
  },
  costOf: classificationCost,
  describe: ({ thresholds }) => (thresholds ? { thresholds: Array.from(thresholds) } : {}),
}
