// One class out of several.

import { decideOne } from '../decisions.js'
import { classify, logitsInSteps } from '../heads.js'
import { classificationCost } from '../prediction-costs.js'
import type { ServedProblem, TaskOf } from './served-problem.js'

export const singleLabel: ServedProblem<TaskOf<'single_label_classification'>> = {
  readsHidden: false,
  takesThreshold: false,
  decides: true,
  *predictInSteps({ labels, head, thresholds }, _, { pooled }, options) {
    const logits = yield* logitsInSteps(head, pooled)
    options.onDecision?.(yield* decideOne(labels, logits, thresholds))
    return yield* classify(labels, logits, options, thresholds)
  },
  costOf: classificationCost,
  describe: ({ thresholds }) => (thresholds ? { thresholds: Array.from(thresholds) } : {}),
}
