// The tiny random backbones of test/fixtures/backbones, and the outputs of `transformers` for them.

import { readdirSync, readFileSync } from 'node:fs'
import { copyFile, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Backbone } from '../../src/backbones/backbone.js'
import type { ModelType } from '../../src/backbones/families.js'
import type { Text } from '../../src/backbones/tokenizer.js'
import {
  parseHeader,
  serializeSafetensors,
  type TensorData,
  tensorBytes,
  tensorFloats,
} from '../../src/formats/safetensors.js'
import { type ModuleConfig, petlModule } from '../../src/petl/kinds.js'
import { elementCount } from '../../src/petl/module.js'
import type { Prototype } from '../../src/petl/prototype.js'
import { readPrototype, serializePrototype } from '../../src/petl/prototype-file.js'
import type { TokenRow } from '../../src/runtime/packed-rows.js'
import { root, temporaryDirectory } from '../material.js'

export type Fields = Readonly<Record<string, unknown>>

const folder = join(root, 'test/fixtures/backbones')

/** The folders of the backbones. */
const names = readdirSync(folder, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name)

const typeOf = (name: string) =>
  (JSON.parse(readFileSync(join(folder, name, 'config.json'), 'utf8')) as Fields).model_type

/** One backbone of each family. */
export const tinyBackbones: readonly string[] = names.filter((name) => typeOf(name) === name)

/** Backbones of the same families with other choices in the config. */
export const tinyVariants: readonly string[] = names.filter((name) => typeOf(name) !== name)

/** @param name a family, or a variant of one: the name of a folder */
export const directoryOf = (name: string): string => join(folder, name)

/** One of each kind of module, and none. */
export const tinyModules: readonly (ModuleConfig | undefined)[] = [
  undefined,
  { kind: 'adapter', bottleneck: 4, activation: 'relu', scaling: 1 },
  // The bits of its masks do not fill whole bytes.
  { kind: 'adapter', bottleneck: 3, activation: 'gelu', scaling: 0.5 },
  { kind: 'lora', rank: 3, alpha: 5 },
  { kind: 'prefix', length: 5 },
]

export const texts: readonly Text[] = (
  JSON.parse(readFileSync(join(folder, 'texts.json'), 'utf8')) as { text: string; text_pair?: string }[]
).map(({ text, text_pair }) => ({ text, ...(text_pair !== undefined && { textPair: text_pair }) }))

export interface ExpectedRow {
  readonly inputIds: readonly number[]
  readonly tokenTypeIds: readonly number[]
  /** [tokens of the row, H] */
  readonly hidden: Float32Array
  /** [H]: mean of the hidden states with the adapter of make.py. */
  readonly adapter: Float32Array
  /** [H]: mean of the hidden states with the LoRA of make.py. */
  readonly lora: Float32Array
}

/** Four rows of different lengths and poolings. */
export const tinyRows = (name: string): TokenRow[] =>
  expectedRows(name)
    .slice(0, 4)
    .map(({ inputIds, tokenTypeIds }, at) => ({ inputIds, tokenTypeIds, pooling: at === 1 ? 'cls' : 'mean' }))

/** The outputs of `transformers` for each of the texts. */
export function expectedRows(name: string): readonly ExpectedRow[] {
  const file = readFileSync(join(directoryOf(name), 'expected.safetensors'))
  const { tensors } = parseHeader(file)
  const info = (tensor: string) => {
    const found = tensors.get(tensor)
    if (found === undefined) throw new Error(`${name} has no ${tensor}`)
    return found
  }
  const integers = (tensor: string) =>
    Array.from(new BigInt64Array(new Uint8Array(tensorBytes(file, info(tensor))).buffer), Number)
  const floats = (tensor: string) => tensorFloats(file, tensor, info(tensor))
  const [ids, types, hidden, adapter, lora] = [
    integers('input_ids'),
    integers('token_type_ids'),
    floats('hidden'),
    floats('adapter'),
    floats('lora'),
  ]
  const [, H = 0] = info('hidden').shape
  let end = 0
  return integers('lengths').map((length, row) => {
    const start = end
    end += length
    const mean = (values: Float32Array) => values.subarray(row * H, (row + 1) * H)
    return {
      inputIds: ids.slice(start, end),
      tokenTypeIds: types.slice(start, end),
      hidden: hidden.subarray(start * H, end * H),
      adapter: mean(adapter),
      lora: mean(lora),
    }
  })
}

/** The numbers with which make.py fills the tensors of its modules. */
export const wave = (count: number, seed: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => 0.3 * Math.sin(1.7 * i + seed))

/** A prototype with numbers of {@link wave} for a backbone. */
export function prototypeFor({ digest, dims }: Backbone, module: ModuleConfig): Prototype {
  const { hiddenSize, layers } = dims
  const { maskable, unmasked } = petlModule(module, hiddenSize)
  const tensors = new Map(
    [...maskable, ...unmasked].map(({ name, shape }, seed) => [name, wave(elementCount(shape), seed)]),
  )
  return readPrototype(serializePrototype({ backbone: digest, module, layers, hiddenSize, tensors }))
}

/** A copy of a backbone's directory that a test may change. */
export async function copyOf(name: string): Promise<string> {
  const directory = await temporaryDirectory()
  for (const file of ['config.json', 'tokenizer.json', 'model.safetensors'])
    await copyFile(join(directoryOf(name), file), join(directory, file))
  return directory
}

/** Changes fields of a JSON file in a directory. The value undefined removes a field. */
export async function changeJson(directory: string, file: string, change: (fields: Fields) => Fields): Promise<void> {
  const path = join(directory, file)
  await writeFile(path, JSON.stringify(change(JSON.parse(await readFile(path, 'utf8')) as Fields)))
}

/** The tensors of a directory's model.safetensors. */
export async function tensorsOf(directory: string): Promise<Map<string, TensorData>> {
  const file = await readFile(join(directory, 'model.safetensors'))
  return new Map(
    Array.from(parseHeader(file).tensors, ([name, info]) => {
      return [name, { dtype: info.dtype, shape: info.shape, data: tensorBytes(file, info) }] as const
    }),
  )
}

/** A copy of a backbone's directory with its weights in several files and an index, as transformers saves large models. */
export async function shardedCopyOf(name: ModelType, count: number): Promise<{ directory: string; shards: string[] }> {
  const directory = await copyOf(name)
  const tensors = [...(await tensorsOf(directory))]
  await rm(join(directory, 'model.safetensors'))
  const digits = (number: number) => String(number).padStart(5, '0')
  const shards = Array.from({ length: count }, (_, at) => `model-${digits(at + 1)}-of-${digits(count)}.safetensors`)
  for (const [at, shard] of shards.entries()) {
    const own = tensors.filter((_, number) => number % count === at)
    await writeFile(join(directory, shard), serializeSafetensors({ format: 'pt' }, Object.fromEntries(own)))
  }
  const weight_map = Object.fromEntries(tensors.map(([tensor], number) => [tensor, shards[number % count]]))
  await writeFile(join(directory, 'model.safetensors.index.json'), JSON.stringify({ metadata: {}, weight_map }))
  return { directory, shards }
}
