// The families of encoders that are built: how each one's config.json reads, and what its tensors are called, both as
// `transformers` has them. All are post-layer-norm encoders, and encoder.ts is the graph of every one of them. A further
// family is a row of this table.

import { type Activation, hiddenActivations } from './activations.js'
import type { ConfigFile } from './config-file.js'

export type ModelType = 'bert' | 'roberta' | 'xlm-roberta' | 'distilbert' | 'mpnet' | 'electra'

/** What an encoder is built from, by the names of BERT's config.json, whatever its own family calls them. */
export interface EncoderConfig {
  readonly model_type: ModelType
  readonly vocab_size: number
  /** Rows of the table of positions. */
  readonly max_position_embeddings: number
  /** The row of it that a text's first token has; rows before it are never used. */
  readonly first_position: number
  /** 0: tokens have no types. */
  readonly type_vocab_size: number
  /** Width of the embeddings; where it is not the hidden size, a dense layer leads from the one to the other. */
  readonly embedding_size: number
  readonly hidden_size: number
  readonly num_hidden_layers: number
  readonly num_attention_heads: number
  readonly intermediate_size: number
  readonly hidden_act: Activation
  readonly layer_norm_eps: number
  /** 0: attention has no relative position bias. */
  readonly relative_attention_num_buckets: number
  /** Ids of special tokens, by the fields of config.json that name them, in families whose configs are right about them. */
  readonly special_ids: ReadonlyMap<string, number>
}

/** A layer's tensors, below its own name: each has a `.weight` and a `.bias`. */
export interface LayerNames {
  readonly query: string
  readonly key: string
  readonly value: string
  /** The projection of what attention found, and the normalisation of its sum with the layer's input. */
  readonly attended: string
  readonly attentionNorm: string
  /** The feed-forward block's two projections, and the normalisation of its sum with its input. */
  readonly inner: string
  readonly outer: string
  readonly outputNorm: string
}

export interface Family {
  /** Reads config.json. @throws Problem `invalid_backbone` naming the field */
  readonly config: (file: ConfigFile) => Omit<EncoderConfig, 'model_type'>
  /** What a checkpoint that holds a head too puts before the encoder's tensors. */
  readonly prefix: string
  /** What layers are called, before their number. */
  readonly layers: string
  readonly layer: LayerNames
}

/** Devlin et al. 2019, arXiv 1810.04805 */
const bert: Family = {
  config: bertConfig,
  prefix: 'bert.',
  layers: 'encoder.layer',
  layer: {
    query: 'attention.self.query',
    key: 'attention.self.key',
    value: 'attention.self.value',
    attended: 'attention.output.dense',
    attentionNorm: 'attention.output.LayerNorm',
    inner: 'intermediate.dense',
    outer: 'output.dense',
    outputNorm: 'output.LayerNorm',
  },
}

/** Liu et al. 2019, arXiv 1907.11692. Positions begin behind the padding token's id. */
const roberta: Family = {
  ...bert,
  config: (file) => ({
    ...bertConfig(file),
    first_position: file.index('pad_token_id', 1) + 1,
    special_ids: boundaryIds(file),
  }),
  prefix: 'roberta.',
}

/** Sanh et al. 2019, arXiv 1910.01108. Positions are a table, whether they were learned or are sinusoids. */
const distilbert: Family = {
  config: (file) => ({
    vocab_size: file.size('vocab_size'),
    max_position_embeddings: file.size('max_position_embeddings'),
    first_position: 0,
    type_vocab_size: 0,
    embedding_size: file.size('dim'),
    hidden_size: file.size('dim'),
    num_hidden_layers: file.size('n_layers'),
    num_attention_heads: file.size('n_heads'),
    intermediate_size: file.size('hidden_dim'),
    hidden_act: file.choice('activation', hiddenActivations, 'gelu'),
    layer_norm_eps: 1e-12,
    relative_attention_num_buckets: 0,
    special_ids: new Map(),
  }),
  prefix: 'distilbert.',
  layers: 'transformer.layer',
  layer: {
    query: 'attention.q_lin',
    key: 'attention.k_lin',
    value: 'attention.v_lin',
    attended: 'attention.out_lin',
    attentionNorm: 'sa_layer_norm',
    inner: 'ffn.lin1',
    outer: 'ffn.lin2',
    outputNorm: 'output_layer_norm',
  },
}

/** Song et al. 2020, arXiv 2004.09297. The padding token's id is 1 and the buckets are 32, whatever a config says. */
const mpnet: Family = {
  config: (file) => {
    file.only('relative_attention_num_buckets', 32)
    return {
      ...bertConfig(file),
      first_position: 2,
      type_vocab_size: 0,
      relative_attention_num_buckets: 32,
      special_ids: boundaryIds(file),
    }
  },
  prefix: 'mpnet.',
  layers: 'encoder.layer',
  layer: {
    ...bert.layer,
    query: 'attention.attn.q',
    key: 'attention.attn.k',
    value: 'attention.attn.v',
    attended: 'attention.attn.o',
    attentionNorm: 'attention.LayerNorm',
  },
}

/** Clark et al. 2020, arXiv 2003.10555 */
const electra: Family = {
  ...bert,
  config: (file) => ({ ...bertConfig(file), embedding_size: file.size('embedding_size') }),
  prefix: 'electra.',
}

export const families: Readonly<Record<ModelType, Family>> = {
  bert,
  roberta,
  /** Conneau et al. 2020, arXiv 1911.02116: RoBERTa with another vocabulary. */
  'xlm-roberta': roberta,
  distilbert,
  mpnet,
  electra,
}

/** @throws Problem `invalid_backbone` naming the field, what it is, and what is built */
export function encoderConfig(file: ConfigFile): EncoderConfig {
  const model_type = file.choice('model_type', families)
  file.only('is_decoder', false)
  file.only('add_cross_attention', false)
  file.only('position_embedding_type', 'absolute')
  const config = { model_type, ...families[model_type].config(file) }
  const { hidden_size: H, num_attention_heads: heads } = config
  if (H % heads !== 0) file.throwInvalidConfig(`hidden_size ${H} is not a multiple of num_attention_heads ${heads}`)
  if (maxTokensOf(config) < 1)
    file.throwInvalidConfig(
      `max_position_embeddings is ${config.max_position_embeddings}; expected more than ${config.first_position}, ` +
        'where positions begin',
    )
  return config
}

/** Tokens of the longest text that an encoder takes, special tokens included. */
export const maxTokensOf = (config: EncoderConfig): number => config.max_position_embeddings - config.first_position

function bertConfig(file: ConfigFile): Omit<EncoderConfig, 'model_type'> {
  return {
    vocab_size: file.size('vocab_size'),
    max_position_embeddings: file.size('max_position_embeddings'),
    first_position: 0,
    type_vocab_size: file.size('type_vocab_size', 2),
    embedding_size: file.size('hidden_size'),
    hidden_size: file.size('hidden_size'),
    num_hidden_layers: file.size('num_hidden_layers'),
    num_attention_heads: file.size('num_attention_heads'),
    intermediate_size: file.size('intermediate_size'),
    hidden_act: file.choice('hidden_act', hiddenActivations, 'gelu'),
    layer_norm_eps: file.positive('layer_norm_eps', 1e-12),
    relative_attention_num_buckets: 0,
    special_ids: new Map(),
  }
}

/** What RoBERTa and MPNet begin and end a text with. Configs of BERTs often have other models' ids here. */
const boundaryIds = (file: ConfigFile) => file.indexes('bos_token_id', 'eos_token_id')
