// What the predictor does with texts that are to be kept: it hands them to a collector, with what the task decided.

import type { Text } from '../backbones/tokenizer.js'
import type { Owner } from '../owner.js'
import type { Decision } from './decisions.js'

/** A text of a request, and what its task decided. */
export interface PredictedText extends Text, Decision {
  /** Digest of the task file. */
  readonly version: string
  readonly requestId: string
  /** The place of the text in the request. */
  readonly index: number
}

export interface TextCollector {
  /**
   * Called for each text, so it must be fast.
   * @returns what takes the texts of a task; undefined if its owner does not want them kept
   */
  collects(owner: Owner, task: string): ((text: PredictedText) => void) | undefined
}
