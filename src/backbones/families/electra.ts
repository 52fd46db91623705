// ELECTRA (Clark et al. 2020, arXiv 2003.10555): BERT whose embeddings may have another width than its hidden states.

import type { Family } from '../architecture.js'
import { bertArchitecture } from './bert.js'

export const electra: Family = (config) =>
  bertArchitecture(config, { prefix: 'electra.', embeddingSize: config.size('embedding_size') })
