// Several labels. Any number of them may apply to a text.

import { classifyEach, labelsReaching, logitsInSteps } from '../heads.js'
import { classificationCost } from '../prediction-costs.js'
import type { ServedProblem, TaskOf } from './served-problem.js'

export const multiLabel: ServedProblem<TaskOf<'multi_label_classification'>> = {
  readsHidden: false,
  takesThreshold: true,
  *predictInSteps(task, _, { pooled }, options) {
    const logits = yield* logitsInSteps(task.head, pooled)
    const labels = yield* labelsReaching(options.threshold ?? task.thresholds, task.labels, logits)
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
