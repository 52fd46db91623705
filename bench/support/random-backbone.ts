// Backbones with random weights in the shape of published models, to measure models that are not bundled.

import { randomFillSync } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Backbone, readBackbone } from '../../src/backbones/backbone.js'
import { serializeSafetensors } from '../../src/formats/safetensors.js'
import { elementCount } from '../../src/petl/module.js'

export interface BackboneShape {
  readonly name: string
  /** The fields of config.json. */
  readonly config: Readonly<Record<string, unknown>>
  /** The shape of each tensor, by its name. */
  readonly tensors: Readonly<Record<string, readonly number[]>>
}

const dense = (name: string, outputs: number, inputs: number): BackboneShape['tensors'] => ({
  [`${name}.weight`]: [outputs, inputs],
  [`${name}.bias`]: [outputs],
})
const norm = (name: string, H: number): BackboneShape['tensors'] => ({
  [`${name}.weight`]: [H],
  [`${name}.bias`]: [H],
})

// In layers as wide as these, numbers between 1/64 and 1/32 of both signs keep the size of hidden states.
const exponent = 121 << 7
const signAndMantissa = 0x807f
const one = 0x3f80

/** Random numbers in bfloat16, or ones for a normalisation. */
function randomValues(name: string, count: number): Uint8Array {
  const values = new Uint16Array(count)
  if (/norm\.weight$/i.test(name)) values.fill(one)
  else {
    randomFillSync(values)
    for (let i = 0; i < count; i++) values[i] = ((values[i] ?? 0) & signAndMantissa) | exponent
  }
  return new Uint8Array(values.buffer)
}

/** Writes config.json and model.safetensors into a directory. There is no tokenizer. */
export async function writeRandomBackbone(directory: string, { config, tensors }: BackboneShape): Promise<Backbone> {
  const entries = Object.entries(tensors).map(
    ([name, shape]) => [name, { dtype: 'BF16', shape, data: randomValues(name, elementCount(shape)) }] as const,
  )
  await writeFile(join(directory, 'config.json'), JSON.stringify(config))
  await writeFile(join(directory, 'model.safetensors'), serializeSafetensors({}, Object.fromEntries(entries)))
  return readBackbone(directory)
}

/** ModernBERT-base (Warner et al. 2024) with fewer words, whose number does not change the time of a batch. */
export function modernBertBase(): BackboneShape {
  const [H, intermediate, layers, vocabulary] = [768, 1152, 22, 4096]
  return {
    name: 'ModernBERT-base',
    config: {
      model_type: 'modernbert',
      vocab_size: vocabulary,
      hidden_size: H,
      intermediate_size: intermediate,
      num_hidden_layers: layers,
      num_attention_heads: 12,
      max_position_embeddings: 8192,
      pad_token_id: 0,
      global_attn_every_n_layers: 3,
      local_attention: 128,
    },
    tensors: {
      'embeddings.tok_embeddings.weight': [vocabulary, H],
      'embeddings.norm.weight': [H],
      'final_norm.weight': [H],
      ...Object.assign({}, ...Array.from({ length: layers }, (_, layer) => layerTensors(layer, H, intermediate))),
    },
  }
}

const layerTensors = (layer: number, H: number, intermediate: number): BackboneShape['tensors'] => ({
  ...(layer > 0 && { [`layers.${layer}.attn_norm.weight`]: [H] }),
  [`layers.${layer}.attn.Wqkv.weight`]: [3 * H, H],
  [`layers.${layer}.attn.Wo.weight`]: [H, H],
  [`layers.${layer}.mlp_norm.weight`]: [H],
  [`layers.${layer}.mlp.Wi.weight`]: [2 * intermediate, H],
  [`layers.${layer}.mlp.Wo.weight`]: [H, intermediate],
})

/** DeBERTa-v3-small (He et al. 2021) with fewer words, as {@link modernBertBase}. */
export function debertaV3Small(): BackboneShape {
  const [H, intermediate, layers, vocabulary, buckets] = [768, 3072, 6, 4096, 256]
  const layer = (name: string): BackboneShape['tensors'] => ({
    ...dense(`${name}.attention.self.query_proj`, H, H),
    ...dense(`${name}.attention.self.key_proj`, H, H),
    ...dense(`${name}.attention.self.value_proj`, H, H),
    ...dense(`${name}.attention.output.dense`, H, H),
    ...norm(`${name}.attention.output.LayerNorm`, H),
    ...dense(`${name}.intermediate.dense`, intermediate, H),
    ...dense(`${name}.output.dense`, H, intermediate),
    ...norm(`${name}.output.LayerNorm`, H),
  })
  return {
    name: 'DeBERTa-v3-small',
    config: {
      model_type: 'deberta-v2',
      vocab_size: vocabulary,
      type_vocab_size: 0,
      hidden_size: H,
      intermediate_size: intermediate,
      num_hidden_layers: layers,
      num_attention_heads: 12,
      max_position_embeddings: 512,
      relative_attention: true,
      pos_att_type: 'p2c|c2p',
      position_buckets: buckets,
      share_att_key: true,
      norm_rel_ebd: 'layer_norm',
      position_biased_input: false,
    },
    tensors: {
      'embeddings.word_embeddings.weight': [vocabulary, H],
      ...norm('embeddings.LayerNorm', H),
      'encoder.rel_embeddings.weight': [2 * buckets, H],
      ...norm('encoder.LayerNorm', H),
      ...Object.assign({}, ...Array.from({ length: layers }, (_, at) => layer(`encoder.layer.${at}`))),
    },
  }
}

/** BERT with one narrow layer and the words of the bundled model, to measure what a command does besides computing. */
export function tinyBert(): BackboneShape {
  const [H, intermediate, vocabulary, positions] = [64, 128, 30_522, 512]
  const layer = 'encoder.layer.0'
  return {
    name: 'one-layer BERT',
    config: {
      model_type: 'bert',
      vocab_size: vocabulary,
      type_vocab_size: 2,
      hidden_size: H,
      intermediate_size: intermediate,
      num_hidden_layers: 1,
      num_attention_heads: 2,
      max_position_embeddings: positions,
    },
    tensors: {
      'embeddings.word_embeddings.weight': [vocabulary, H],
      'embeddings.position_embeddings.weight': [positions, H],
      'embeddings.token_type_embeddings.weight': [2, H],
      ...norm('embeddings.LayerNorm', H),
      ...dense(`${layer}.attention.self.query`, H, H),
      ...dense(`${layer}.attention.self.key`, H, H),
      ...dense(`${layer}.attention.self.value`, H, H),
      ...dense(`${layer}.attention.output.dense`, H, H),
      ...norm(`${layer}.attention.output.LayerNorm`, H),
      ...dense(`${layer}.intermediate.dense`, intermediate, H),
      ...dense(`${layer}.output.dense`, H, intermediate),
      ...norm(`${layer}.output.LayerNorm`, H),
    },
  }
}
