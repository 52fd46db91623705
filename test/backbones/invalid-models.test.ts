// Unsupported and inconsistent backbones are rejected when they are loaded, with the name of the field or tensor.

import assert from 'node:assert/strict'
import { stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { readBackbone } from '../../src/backbones/backbone.js'
import type { ModelType } from '../../src/backbones/families.js'
import { Engine } from '../../src/engine/engine.js'
import { serializeSafetensors, type TensorData } from '../../src/formats/safetensors.js'
import { serializeOnnx } from '../../src/graph/onnx.js'
import { servingGraph } from '../../src/runtime/serving-graph.js'
import { changeJson, copyOf, type Fields, tensorsOf } from './tiny.js'

/** A backbone's directory with some fields of its config changed. The value undefined removes a field. */
async function withConfig(name: ModelType, changes: Fields): Promise<string> {
  const directory = await copyOf(name)
  await changeJson(directory, 'config.json', (config) => ({ ...config, ...changes }))
  return directory
}

async function load(directory: string): Promise<void> {
  const backbone = await readBackbone(directory)
  const engine = await Engine.start({
    backbone,
    prototype: undefined,
    provider: 'cpu',
    numerics: 'float32',
    slots: 1,
    threads: 1,
  })
  await engine.close()
}

const rejected = (directory: string, message: RegExp) =>
  assert.rejects(load(directory), { name: 'Problem', code: 'invalid_backbone', message })

const traits = { bank: 'uint16', gatherHalf: true } as const
const activations = 'gelu \\| gelu_new \\| gelu_pytorch_tanh \\| relu \\| silu \\| swish'
const olderNomic = { n_embd: 32, n_head: 4, n_layer: 2, activation_function: 'swiglu' }
const configs: [ModelType, Fields, RegExp][] = [
  ['bert', { model_type: 'gpt2' }, /config.json: model_type is "gpt2"; expected bert \| roberta \| (.+ \| )modernbert/],
  ['bert', { model_type: undefined }, /model_type is missing; expected bert \| roberta/],
  ['bert', { hidden_act: 'selu' }, new RegExp(`hidden_act is "selu"; expected ${activations}$`)],
  ['distilbert', { activation: 'mish' }, new RegExp(`activation is "mish"; expected ${activations}$`)],
  [
    'bert',
    { position_embedding_type: 'relative_key' },
    /position_embedding_type is "relative_key"; expected "absolute"/,
  ],
  ['roberta', { is_decoder: true }, /is_decoder is true; expected false/],
  ['electra', { add_cross_attention: true }, /add_cross_attention is true; expected false/],
  ['mpnet', { relative_attention_num_buckets: 16 }, /relative_attention_num_buckets is 16; expected 32/],
  ['bert', { hidden_size: '32' }, /hidden_size is "32"; expected a whole number from 1 to 1000000/],
  ['bert', { num_hidden_layers: undefined }, /num_hidden_layers is missing; expected a whole number/],
  ['distilbert', { n_layers: 0 }, /n_layers is 0; expected a whole number/],
  ['electra', { embedding_size: null }, /embedding_size is missing/],
  ['roberta', { pad_token_id: -1 }, /pad_token_id is -1; expected a whole number from 0/],
  ['bert', { layer_norm_eps: 0 }, /layer_norm_eps is 0; expected a number above 0/],
  ['bert', { num_attention_heads: 5 }, /hidden_size 32 is not a multiple of num_attention_heads 5/],
  ['deberta-v2', { model_type: 'deberta' }, /model_type is "deberta"; expected bert \| (.+ \| )deberta-v2/],
  ['deberta-v2', { relative_attention: undefined }, /relative_attention is false or missing; expected true/],
  ['deberta-v2', { pos_att_type: 'p2c|p2p' }, /pos_att_type is "p2c\|p2p"; expected one or several of c2p \| p2c/],
  ['deberta-v2', { pos_att_type: [] }, /pos_att_type is \[\]; expected one or several of c2p \| p2c/],
  ['deberta-v2', { pos_att_type: null }, /pos_att_type is missing; expected one or several of c2p \| p2c/],
  [
    'deberta-v2',
    { norm_rel_ebd: 'batch_norm' },
    /norm_rel_ebd is "batch_norm"; expected one or several of none \| layer_n/,
  ],
  ['deberta-v2', { share_att_key: 'yes' }, /share_att_key is "yes"; expected true or false/],
  ['deberta-v2', { position_buckets: 1.5 }, /position_buckets is 1.5; expected a whole number from -1/],
  ['deberta-v2', { position_buckets: 1 }, /position_buckets is 1; expected -1 for no buckets, or 2 to 297/],
  ['deberta-v2', { max_relative_positions: 9 }, /position_buckets is 16; expected -1 for no buckets, or 2 to 15/],
  ['deberta-v2', { attention_head_size: 16 }, /attention_head_size is 16; expected 8/],
  ['deberta-v2', { conv_kernel_size: 4 }, /conv_kernel_size is 4; expected an odd number/],
  ['deberta-v2', { conv_kernel_size: 3, conv_groups: 5 }, /hidden_size 32 is not a multiple of conv_groups 5/],
  ['deberta-v2', { conv_kernel_size: 3, conv_act: 'mish' }, /conv_act is "mish"; expected gelu \| .+ \| tanh/],
  ['roberta', { max_position_embeddings: 2 }, /max_position_embeddings is 2; expected more than 2/],
  ['modernbert', { hidden_activation: 'mish' }, new RegExp(`hidden_activation is "mish"; expected ${activations}$`)],
  ['modernbert', { local_attention: 9 }, /local_attention is 9; expected an even number$/],
  ['modernbert', { norm_bias: 'no' }, /norm_bias is "no"; expected true or false/],
  ['modernbert', { num_attention_heads: 5 }, /hidden_size 32 is not a multiple of num_attention_heads 5/],
  ['modernbert', { num_attention_heads: 32 }, /a head has 32 \/ 32 = 1 elements; expected an even number/],
  ['modernbert', { layer_types: ['full_attention'] }, /layer_types is \["full_attention"\]; expected a list of 4/],
  [
    'modernbert',
    { layer_types: ['full_attention', 'chunked_attention', 'full_attention', 'full_attention'] },
    /layer_types\[1\] is "chunked_attention"; expected full_attention \| sliding_attention/,
  ],
  ['modernbert', { rope_parameters: [] }, /rope_parameters is \[\]; expected an object/],
  [
    'modernbert',
    { rope_parameters: { sliding_attention: { rope_type: 'yarn', factor: 2 } } },
    /config\.json: rope_parameters\.sliding_attention\.rope_type is "yarn"; expected default \| linear \| ntk/,
  ],
  [
    'modernbert',
    { rope_parameters: { full_attention: { rope_theta: 0 } } },
    /rope_parameters\.full_attention\.rope_theta is 0; expected a number above 0/,
  ],
  ['modernbert', { rope_scaling: { type: 'linear', factor: 2 } }, /rope_scaling is \{.+\}; expected null/],
  ['gte', { position_embedding_type: 'absolute' }, /position_embedding_type is "absolute"; expected "rope"/],
  ['gte', { pack_qkv: false }, /pack_qkv is false; expected true/],
  ['gte', { rope_parameters: { rope_type: 'linear' } }, /rope_parameters\.factor is missing/],
  [
    'gte',
    { rope_scaling: { type: 'linear', factor: 2 } },
    /rope_scaling is \{"type":"linear","factor":2\}; expected null/,
  ],
  [
    'gte',
    { rope_parameters: undefined, rope_scaling: { type: 'dynamic', factor: 2 } },
    /rope_scaling\.type is "dynamic"; expected default \| linear \| ntk/,
  ],
  [
    'gte',
    { rope_parameters: { partial_rotary_factor: 0.5 } },
    /rope_parameters\.partial_rotary_factor is 0.5; expected 1/,
  ],
  ['nomic_bert', { head_dim: 16 }, /head_dim is 16; expected 8/],
  ['nomic_bert', { ...olderNomic, prenorm: true }, /prenorm is true; expected false/],
  ['nomic_bert', { ...olderNomic, rotary_emb_fraction: 0.5 }, /rotary_emb_fraction is 0.5; expected 1/],
  [
    'nomic_bert',
    { ...olderNomic, activation_function: 'gelu' },
    /activation_function is "gelu"; expected swiglu \| geglu/,
  ],
]

describe('a config is rejected', () => {
  for (const [name, changes, message] of configs)
    test(`of ${name} with ${JSON.stringify(changes)}`, async () => {
      await rejected(await withConfig(name, changes), message)
    })

  test('that is not JSON or not an object', async () => {
    const directory = await copyOf('bert')
    await writeFile(join(directory, 'config.json'), '{"model_type": ')
    await rejected(directory, /config\.json: the file is not JSON/)
    await writeFile(join(directory, 'config.json'), '["bert"]')
    await rejected(directory, /config\.json: the file is \["bert"\]; expected a JSON object/)
  })
})

test('a field that is null or missing has the default of transformers', async () => {
  const graphOf = async (changes: Fields) =>
    Buffer.from(serializeOnnx(servingGraph(await readBackbone(await withConfig('bert', changes)), undefined, traits)))
  const defaults = {
    hidden_act: 'gelu',
    position_embedding_type: 'absolute',
    layer_norm_eps: 1e-12,
    is_decoder: false,
    type_vocab_size: 2,
  }
  const absent = Object.fromEntries(Object.keys(defaults).map((field, at) => [field, at % 2 === 0 ? null : undefined]))
  assert.ok((await graphOf(absent)).equals(await graphOf(defaults)))
  assert.ok(!(await graphOf({ ...defaults, layer_norm_eps: 1e-5 })).equals(await graphOf(defaults)))
  // The positions of RoBERTa start after the padding token's id, 1 by default.
  const { dims, configFile } = await readBackbone(await withConfig('roberta', { pad_token_id: undefined }))
  assert.equal(dims.maxTokens, Number(configFile.fields.get('max_position_embeddings')) - 2)
})

/** The same weights with some tensors changed. */
async function withTensors(name: ModelType, change: (tensors: Map<string, TensorData>) => void): Promise<string> {
  const directory = await copyOf(name)
  const tensors = await tensorsOf(directory)
  change(tensors)
  await writeFile(join(directory, 'model.safetensors'), serializeSafetensors({}, Object.fromEntries(tensors)))
  return directory
}

describe('weights are rejected', () => {
  const layers: [ModelType, Fields, RegExp][] = [
    [
      'bert',
      { num_hidden_layers: 3 },
      /"bert\.encoder\.layer\.2\.attention\.self\.query\.weight" \[32, 32\] is missing/,
    ],
    [
      'distilbert',
      { n_layers: 3 },
      /"distilbert\.transformer\.layer\.2\.attention\.q_lin\.weight" \[32, 32\] is missing/,
    ],
    [
      'modernbert',
      { num_hidden_layers: 5, layer_types: null },
      /"model\.layers\.4\.attn_norm\.weight" \[32\] is missing/,
    ],
    ['modernbert', { attention_bias: true }, /"model\.layers\.0\.attn\.Wqkv\.bias" \[96\] is missing/],
    ['modernbert', { norm_bias: true }, /"model\.embeddings\.norm\.bias" \[32\] is missing/],
    ['gte', { num_hidden_layers: 3 }, /"gte\.encoder\.layer\.2\.attention\.qkv_proj\.weight" \[96, 32\] is missing/],
    [
      'gte',
      { intermediate_size: 41 },
      /"gte\.encoder\.layer\.0\.mlp\.up_gate_proj\.weight" has shape \[80, 32\].+\[82, 32\]/,
    ],
    ['nomic_bert', { num_hidden_layers: 3 }, /"encoder\.layers\.2\.attn\.Wqkv\.weight" \[96, 32\] is missing/],
    [
      'xlm-roberta-xl',
      { num_hidden_layers: 3 },
      /"roberta\.encoder\.layer\.2\.attention\.self_attn_layer_norm\.weight" \[32\] is missing/,
    ],
    [
      'deberta-v2',
      { share_att_key: false },
      /"deberta\.encoder\.layer\.0\.attention\.self\.pos_key_proj\.weight" \[32, 32\] is mis/,
    ],
    ['deberta-v2', { conv_kernel_size: 3 }, /"deberta\.encoder\.conv\.conv\.weight" \[32, 32, 3\] is missing/],
    [
      'deberta-v2',
      { position_biased_input: true },
      /"deberta\.embeddings\.position_embeddings\.weight" \[150, 32\] is mis/,
    ],
    ['mpnet', { num_hidden_layers: 3 }, /"encoder\.layer\.2\.attention\.attn\.q\.weight" \[32, 32\] is missing/],
  ]
  for (const [name, changes, message] of layers)
    test(`of ${name} with ${JSON.stringify(changes)}, with the name of the first tensor that does not fit`, async () => {
      await rejected(await withConfig(name, changes), message)
    })

  test('with a tensor of another shape than the config requires', async () => {
    await rejected(
      await withConfig('roberta', { vocab_size: 1000 }),
      /"roberta\.embeddings\.word_embeddings\.weight" has shape \[90, 32\], but config\.json requires \[1000, 32\]/,
    )
  })

  test('with a tensor of an unsupported type', async () => {
    const directory = await withTensors('xlm-roberta', (tensors) => {
      const bias = tensors.get('encoder.layer.1.output.dense.bias')
      if (bias) tensors.set('encoder.layer.1.output.dense.bias', { ...bias, dtype: 'I16' })
    })
    await rejected(directory, /"encoder\.layer\.1\.output\.dense\.bias" is I16; expected F32, F16 or BF16/)
  })

  test('without an embedding projection if the widths differ', async () => {
    const directory = await withTensors('electra', (tensors) => {
      tensors.delete('electra.embeddings_project.bias')
    })
    await rejected(directory, /"electra\.embeddings_project\.bias" \[32\] is missing/)
  })

  test('in a file that is truncated in its data or its header', async () => {
    const directory = await copyOf('mpnet')
    const path = join(directory, 'model.safetensors')
    const { size } = await stat(path)
    await truncate(path, size - 1)
    await rejected(
      directory,
      /model\.safetensors: tensor ".+": data_offsets \[\d+, \d+\] are outside the \d+ data bytes/,
    )
    await truncate(path, 1000)
    await rejected(directory, /model\.safetensors: the header length is \d+ bytes, but only 992 bytes follow/)
    await truncate(path, 3)
    await rejected(
      directory,
      /model\.safetensors: the file has only 3 bytes; a safetensors file starts with a header length of 8 bytes/,
    )
  })
})
