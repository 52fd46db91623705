// Makes a predictor of a server from its settings and the memory of its process.

import type { TextTokenizer } from '../backbones/tokenizer.js'
import type { Config } from '../config.js'
import type { Costs } from '../costs/costs.js'
import { Gate } from '../costs/gate.js'
import { bytesPerCharacter } from '../costs/memory.js'
import type { Inference } from '../inference/inference.js'
import { Predictor } from './predictor.js'
import type { ServedTasks } from './registry.js'
import type { TextCollector } from './text-collection.js'

export interface PredictorOptions {
  readonly registry: Pick<ServedTasks, 'use'>
  readonly tokenizer: TextTokenizer
  readonly inference: Inference
  /** Size of a vector. */
  readonly hiddenSize: number
  readonly costs: Costs
  readonly collector: TextCollector
  readonly config: Pick<Config, 'maxTaskBytes' | 'maxHeadMultiplyAdds' | 'maxAnswerBytes'>
}

export function openPredictor({ costs, config, ...parts }: PredictorOptions): Predictor {
  const { shares, pools, work } = costs
  return new Predictor({
    ...parts,
    work,
    // The gate must have room for two of the longest texts.
    gate: new Gate(Math.max(Math.floor(shares.texts / bytesPerCharacter), 2 * parts.tokenizer.maxCharacters)),
    answers: pools.answers,
    limits: {
      maxTaskBytes: config.maxTaskBytes,
      maxMultiplyAdds: config.maxHeadMultiplyAdds,
      maxAnswerBytes: config.maxAnswerBytes,
    },
  })
}
