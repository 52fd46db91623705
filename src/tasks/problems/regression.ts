// A number.

import { logitsInSteps, multiplyAddsOf } from '../heads.js'
import { bytesAround } from '../prediction-costs.js'
import type { ServedProblem, TaskOf } from './served-problem.js'

export const regression: ServedProblem<TaskOf<'regression'>> = {
  readsHidden: false,
  takesThreshold: false,
  decides: false,
  *predictInSteps({ head, offset }, _, { pooled }) {
    return { score: ((yield* logitsInSteps(head, pooled))[0] ?? Number.NaN) + offset }
  },
  costOf: ({ head }) => ({ multiplyAdds: multiplyAddsOf(head), values: 1, bytes: bytesAround }),
  describe: () => ({}),
}
