// The supported families of encoders, by the model_type of their config.json. A new family is a file in families/ and a
// row of this table.

import type { Architecture, Family } from './architecture.js'
import type { ConfigFile } from './config-file.js'
import { bert } from './families/bert.js'
import { distilbert } from './families/distilbert.js'
import { electra } from './families/electra.js'
import { mpnet } from './families/mpnet.js'
import { roberta } from './families/roberta.js'

const families = {
  bert,
  roberta,
  /** Conneau et al. 2020, arXiv 1911.02116: RoBERTa with another vocabulary. */
  'xlm-roberta': roberta,
  distilbert,
  mpnet,
  electra,
} as const satisfies Readonly<Record<string, Family>>

export type ModelType = keyof typeof families

/** @throws Problem `invalid_backbone` for a field that is missing, invalid or not supported */
export function readArchitecture(config: ConfigFile): Architecture & { readonly type: ModelType } {
  const type = config.choice('model_type', families)
  config.only('is_decoder', false)
  config.only('add_cross_attention', false)
  config.only('position_embedding_type', 'absolute')
  return { type, ...families[type](config) }
}
