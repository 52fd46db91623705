// A class for each word of a text.

import { classificationCost } from '../prediction-costs.js'
import { labelWords } from '../words.js'
import type { ServedProblem, TaskOf } from './served-problem.js'

export const tokenClassification: ServedProblem<TaskOf<'token_classification'>> = {
  readsHidden: true,
  takesThreshold: false,
  decides: true,
  *predictInSteps(task, { text, words }, { hidden }, options) {
    if (hidden === undefined) throw new Error('the engine returned no hidden states for a token classification')
    return yield* labelWords(task, text, words, hidden, options)
  },
  costOf: classificationCost,
  describe: ({ words }) => ({ words: words ? 'rule' : 'tokenizer' }),
}
