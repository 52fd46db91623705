// Several labels. Any number of them may apply to a text.

import { decideEach } from '../decisions.js'
import { classifyEach, labelsReaching, logitsInSteps } from '../heads.js'
import { classificationCost } from '../prediction-costs.js'
import type { ServedProblem, TaskOf } from './served-problem.js'

export const multiLabel: ServedProblem<TaskOf<'multi_label_classification'>> = {
  readsHidden: false,
  takesThreshold: true,
  decides: true,
  *predictInSteps(task, _, { pooled }, options) {
    const logits = yield* logitsInSteps(task.head, pooled)
    const thresholds = options.threshold ?? task.thresholds
    const labels = yield* labelsReaching(thresholds, task.labels, logits)
    options.onDecision?.(yield* decideEach(labels, logits, thresholds))
    return { ...(yield* classifyEach(task.labels, logits, options)), labels }
  },
  costOf(task, labels, topK) {
    const cost = classificationCost(task, labels, topK)
    // All labels can reach their thresholds; then `labels` lists them again.
    return { ...cost, bytes: cost.bytes + labels.all + task.labels.length }
  },
  describe: ({ thresholds }) =>
    typeof thresholds === 'number' ? { threshold: thresholds } : { thresholds: Array.from(thresholds) },
}
