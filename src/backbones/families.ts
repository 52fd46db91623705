// The supported families of encoders, by the model_type of their config.json. A new family is a file in families/ and a
// row of this table.

import type { Architecture, Family } from './architecture.js'
import type { ConfigFile } from './config-file.js'
import { bert } from './families/bert.js'
import { debertaV2 } from './families/deberta-v2.js'
import { distilbert } from './families/distilbert.js'
import { electra } from './families/electra.js'
import { gte, newGte } from './families/gte.js'
import { modernbert } from './families/modernbert.js'
import { mpnet } from './families/mpnet.js'
import { nomicBert } from './families/nomic-bert.js'
import { roberta } from './families/roberta.js'
import { xlmRobertaXl } from './families/xlm-roberta-xl.js'

const families = {
  bert,
  roberta,
  /** Conneau et al. 2020, arXiv 1911.02116: RoBERTa with another vocabulary. */
  'xlm-roberta': roberta,
  /** Martin et al. 2020, arXiv 1911.03894: RoBERTa with another vocabulary. */
  camembert: roberta,
  'xlm-roberta-xl': xlmRobertaXl,
  distilbert,
  mpnet,
  electra,
  modernbert,
  nomic_bert: nomicBert,
  gte,
  /** The name of the same models in older directories. */
  new: newGte,
  /** Versions 2 and 3. */
  'deberta-v2': debertaV2,
} as const satisfies Readonly<Record<string, Family>>

export type ModelType = keyof typeof families

/** @throws Problem `invalid_backbone` for a field that is missing, invalid or not supported */
export function readArchitecture(config: ConfigFile): Architecture & { readonly type: ModelType } {
  const type = config.choice('model_type', families)
  config.only('is_decoder', false)
  config.only('add_cross_attention', false)
  return { type, ...families[type](config) }
}
