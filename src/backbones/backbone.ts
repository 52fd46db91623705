// A backbone as Hugging Face directories hold it: config.json, tokenizer.json and model.safetensors. Its weights are
// read by onnxruntime straight from the file; here only their header is.

import { open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TObject, Type } from 'typebox'
import { Value } from 'typebox/value'
import { digestOfFile } from '../formats/digest.js'
import { headerLength, parseHeader, type SafetensorsHeader } from '../formats/safetensors.js'
import { Problem } from '../problem.js'

const size = Type.Integer({ minimum: 1, maximum: 1_000_000 })

/** The fields of config.json that a BERT is built from. */
const bertConfig = Type.Object({
  model_type: Type.Literal('bert'),
  hidden_size: size,
  num_hidden_layers: size,
  num_attention_heads: size,
  intermediate_size: size,
  hidden_act: Type.Union([Type.Literal('gelu'), Type.Literal('gelu_new'), Type.Literal('relu')]),
  max_position_embeddings: size,
  type_vocab_size: size,
  vocab_size: size,
  layer_norm_eps: Type.Number({ exclusiveMinimum: 0 }),
  position_embedding_type: Type.Optional(Type.Literal('absolute')),
})

export type BertConfig = Type.Static<typeof bertConfig>

export interface Backbone {
  readonly directory: string
  readonly config: BertConfig
  /** SHA-256 of model.safetensors. */
  readonly digest: string
  readonly weights: SafetensorsHeader
  /** Name of the weights file within the directory. */
  readonly weightsFile: string
}

const weightsFile = 'model.safetensors'

/**
 * Reads the description of a backbone.
 * @throws Problem `invalid_backbone` naming the file and the field
 */
export async function readBackbone(directory: string): Promise<Backbone> {
  const [config, weights, digest] = await Promise.all([
    readConfig(join(directory, 'config.json'), bertConfig),
    readWeightsHeader(join(directory, weightsFile)),
    digestOfFile(join(directory, weightsFile)).catch(unreadable(join(directory, weightsFile))),
  ])
  if (config.hidden_size % config.num_attention_heads !== 0)
    refuse(
      `${join(directory, 'config.json')}: hidden_size ${config.hidden_size} is not a multiple of num_attention_heads ${config.num_attention_heads}`,
    )
  return { directory, config, digest, weights, weightsFile }
}

async function readConfig<T extends TObject>(path: string, schema: T): Promise<Type.Static<T>> {
  const text = await readFile(path, 'utf8').catch(unreadable(path))
  let config: unknown
  try {
    config = JSON.parse(text)
  } catch (error) {
    return refuse(`${path}: not JSON: ${(error as Error).message}`)
  }
  if (Value.Check(schema, config)) return config
  const [error] = Value.Errors(schema, config)
  const field = error?.instancePath.slice(1) ?? ''
  const value = (config as Record<string, unknown> | null)?.[field]
  return refuse(`${path}: ${field || 'config'} ${error?.message ?? 'is not valid'}; it is ${JSON.stringify(value)}`)
}

async function readWeightsHeader(path: string): Promise<SafetensorsHeader> {
  const file = await open(path).catch(unreadable(path))
  try {
    const { size } = await file.stat()
    const prefix = Buffer.alloc(8)
    await file.read(prefix, 0, 8, 0)
    const head = Buffer.alloc(8 + headerLength(prefix, size))
    await file.read(head, 0, head.byteLength, 0)
    return parseHeader(head, size)
  } catch (error) {
    throw error instanceof Problem ? new Problem('invalid_backbone', `${path}: ${error.message}`) : error
  } finally {
    await file.close()
  }
}

const unreadable = (path: string) => (error: Error) => refuse(`${path} cannot be read: ${error.message}`)

function refuse(message: string): never {
  throw new Problem('invalid_backbone', message)
}
