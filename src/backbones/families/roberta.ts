// RoBERTa (Liu et al. 2019, arXiv 1907.11692): BERT whose positions start after the id of the padding token.

import type { Family } from '../architecture.js'
import { bertArchitecture } from './bert.js'
import { boundaryIds } from './fields.js'

export const roberta: Family = (config) =>
  bertArchitecture(config, {
    prefix: 'roberta.',
    firstPosition: config.index('pad_token_id', 1) + 1,
    specialIds: boundaryIds(config),
  })
