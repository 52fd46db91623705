// Directories of the Python package sentence-transformers. modules.json lists the modules that make a vector of a text:
// the transformer, pooling, and perhaps dense layers and normalisation.

import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { isShape, parseHeader, tensorFloats } from '../formats/safetensors.js'
import { Problem, quoted } from '../problem.js'
import { ConfigFile } from './config-file.js'
import { readBytes, readModelJson, readModelValue, weightsName, withModelFile } from './model-files.js'
import type { Pooling } from './pooling.js'

export const modulesName = 'modules.json'
export const promptsName = 'config_sentence_transformers.json'
export const tokenizerConfigName = 'tokenizer_config.json'
/** Older directories have the name of the architecture instead of `bert`. */
export const sentenceConfigPattern = /^sentence_[\w-]+_config\.json$/

const moduleKinds = ['Transformer', 'Pooling', 'Dense', 'Normalize', 'Dropout'] as const
type ModuleKind = (typeof moduleKinds)[number]

export interface SentenceModule {
  readonly kind: ModuleKind
  /** Its folder in the directory. Empty for the directory itself. */
  readonly path: string
}

/** y = activation(weight · x + bias). The weight is [outputs, inputs], row-major. */
export interface DenseLayer {
  readonly inputs: number
  readonly outputs: number
  readonly weight: Float32Array
  readonly bias: Float32Array
  readonly activation: 'tanh' | 'relu' | 'none'
}

/** What a directory says about the vectors of texts. Plain data. */
export interface SentenceSettings {
  readonly pooling: Pooling
  /** A layer on the pooled vector. */
  readonly dense?: DenseLayer
  /** Whether vectors are scaled to an L2 norm of 1. */
  readonly normalize: boolean
  /** Tokens to which longer texts are cut. */
  readonly maxTokens?: number
  /** Whether texts are converted to lower case, in addition to what the tokenizer does. */
  readonly lowercase: boolean
  /** Texts that precede an input, by the names of their purposes, such as `query`. */
  readonly prompts: ReadonlyMap<string, string>
  /** The prompt that precedes every input, unless another one is named. */
  readonly defaultPrompt: string
}

const maxModules = 20

/**
 * The modules of a directory, in the order in which they run. The first one is the transformer.
 * @throws Problem `invalid_backbone` if modules.json is missing, invalid, or names a module that is not supported
 */
export async function readModules(directory: string): Promise<SentenceModule[]> {
  const throwInvalid = (message: string): never => {
    throw new Problem('invalid_backbone', `${join(directory, modulesName)}: ${message}`)
  }
  const list = await readModelValue(directory, modulesName)
  if (!Array.isArray(list) || list.length === 0 || list.length > maxModules)
    return throwInvalid(`expected a list of 1 to ${maxModules} modules`)
  const modules = list.map((module: unknown, at): SentenceModule => {
    const { type, path } = (module ?? {}) as { readonly type?: unknown; readonly path?: unknown }
    if (typeof type !== 'string' || typeof path !== 'string')
      return throwInvalid(`module ${at} has no "type" or no "path"; expected a text each`)
    const kind = moduleKinds.find((kind) => kind === type.slice(type.lastIndexOf('.') + 1))
    if (kind === undefined || !type.startsWith('sentence_transformers.'))
      return throwInvalid(
        `module ${at} is ${quoted(type)}; expected a module of sentence-transformers: ${moduleKinds.join(' | ')}`,
      )
    if (!/^(|\w[\w.-]*)$/.test(path))
      throwInvalid(`the path of module ${at} is ${quoted(path)}; expected the name of a folder`)
    return { kind, path }
  })
  for (const [at, { kind }] of modules.entries()) {
    if ((kind === 'Transformer') !== (at === 0))
      throwInvalid(`module ${at} is a ${kind}; expected one Transformer, and it first`)
    if (['Pooling', 'Dense'].includes(kind) && modules.findIndex((module) => module.kind === kind) !== at)
      throwInvalid(`module ${at} is a second ${kind}; expected one at most`)
    if (kind === 'Dense' && !modules.slice(0, at).some((module) => module.kind === 'Pooling'))
      throwInvalid(`module ${at} is a Dense layer on tokens; expected it after Pooling`)
    if (kind === 'Normalize' && modules.slice(at).some((module) => module.kind === 'Dense'))
      throwInvalid(`module ${at} is a Normalize before a Dense layer; expected it last`)
  }
  return modules
}

/**
 * Reads the settings of a sentence-transformers directory.
 * @param hiddenSize of the transformer
 * @throws Problem `invalid_backbone` that names the file and the field
 */
export async function readSentenceSettings(
  directory: string,
  modules: readonly SentenceModule[],
  hiddenSize: number,
): Promise<SentenceSettings> {
  const folder = ({ path }: SentenceModule) => join(directory, path)
  const pooling = modules.find(({ kind }) => kind === 'Pooling')
  const dense = modules.find(({ kind }) => kind === 'Dense')
  return {
    pooling: pooling ? await readPooling(folder(pooling), hiddenSize) : 'mean',
    ...(dense && { dense: await readDense(folder(dense), hiddenSize) }),
    normalize: modules.some(({ kind }) => kind === 'Normalize'),
    ...(await readLimits(join(directory, modules[0]?.path ?? ''))),
    ...(await readPrompts(directory)),
  }
}

/** The names of sentence-transformers; undefined for those that are not supported. */
const poolingModes: Readonly<Record<string, Pooling | undefined>> = {
  mean: 'mean',
  cls: 'cls',
  max: 'max',
  lasttoken: 'last',
  mean_sqrt_len_tokens: undefined,
  weightedmean: undefined,
}

/** Versions of sentence-transformers before 5.3 have a field for each mode. */
const modeFields: Readonly<Record<string, string>> = {
  pooling_mode_cls_token: 'cls',
  pooling_mode_max_tokens: 'max',
  pooling_mode_mean_tokens: 'mean',
  pooling_mode_mean_sqrt_len_tokens: 'mean_sqrt_len_tokens',
  pooling_mode_weightedmean_tokens: 'weightedmean',
  pooling_mode_lasttoken: 'lasttoken',
}

async function readPooling(folder: string, hiddenSize: number): Promise<Pooling> {
  const config = await ConfigFile.read(folder)
  const { fields } = config
  config.only('include_prompt', true)
  for (const field of ['word_embedding_dimension', 'embedding_dimension']) config.only(field, hiddenSize)
  const given = fields.get('pooling_mode')
  const active = Object.entries(modeFields).flatMap(([field, mode]) => (fields.get(field) === true ? [mode] : []))
  const modes: unknown[] = given === undefined ? active : Array.isArray(given) ? given : [given]
  if (modes.length > 1)
    config.throwInvalidConfig(`the poolings ${modes.join(', ')} are concatenated; expected one pooling`)
  const [mode = 'mean'] = modes
  const pooling = typeof mode === 'string' ? poolingModes[mode] : undefined
  if (pooling !== undefined) return pooling
  const supported = Object.keys(poolingModes).filter((name) => poolingModes[name] !== undefined)
  return config.throwInvalidConfig(
    `the pooling ${JSON.stringify(mode)} is not supported; expected ${supported.join(' | ')}`,
  )
}

/** The functions of PyTorch that can follow a dense layer. */
const activations: Readonly<Record<string, DenseLayer['activation']>> = {
  'torch.nn.modules.activation.Tanh': 'tanh',
  'torch.nn.modules.activation.ReLU': 'relu',
  'torch.nn.modules.linear.Identity': 'none',
}

async function readDense(folder: string, inputs: number): Promise<DenseLayer> {
  const config = await ConfigFile.read(folder)
  config.only('in_features', inputs)
  config.only('use_residual', false)
  config.only('module_input_name', 'sentence_embedding')
  config.only('module_output_name', 'sentence_embedding')
  const outputs = config.size('out_features')
  const activation =
    activations[config.choice('activation_function', activations, 'torch.nn.modules.activation.Tanh')] ?? 'none'
  const tensors = await readTensors(folder)
  const tensor = (name: string, shape: readonly number[]) => {
    const found = tensors.get(name)
    if (found && isShape(found.shape, shape)) return found.values
    const path = join(folder, weightsName)
    throw new Problem('invalid_backbone', `${path}: tensor "${name}" [${shape}] is missing or has another shape`)
  }
  const weight = tensor('linear.weight', [outputs, inputs])
  const bias = config.fields.get('bias') === false ? new Float32Array(outputs) : tensor('linear.bias', [outputs])
  return { inputs, outputs, weight, bias, activation }
}

const maxDenseBytes = 200_000_000

async function readTensors(folder: string) {
  const path = join(folder, weightsName)
  const names = await namesIn(folder)
  if (!names.includes(weightsName) && names.includes('pytorch_model.bin'))
    throw new Problem(
      'invalid_backbone',
      `${path} is missing, and pytorch_model.bin cannot be used instead. Save the model with the Python package ` +
        'sentence-transformers: SentenceTransformer(directory).save(directory).',
    )
  const file = await withModelFile(folder, weightsName, async (opened, size) => {
    if (size > maxDenseBytes)
      throw new Problem('invalid_backbone', `${path} has ${size} bytes; expected at most ${maxDenseBytes}`)
    return readBytes(opened, size)
  })
  try {
    const { tensors } = parseHeader(file)
    return new Map(
      Array.from(tensors, ([name, info]) => [name, { shape: info.shape, values: tensorFloats(file, name, info) }]),
    )
  } catch (error) {
    throw new Problem('invalid_backbone', `${path}: ${(error as Error).message}`)
  }
}

/** Tokenizers without a limit have a very large one. */
const maxLimit = 1_000_000

/**
 * The settings in sentence_bert_config.json, which may be missing. Since version 5, the maximum length is in
 * tokenizer_config.json instead.
 */
async function readLimits(folder: string): Promise<Pick<SentenceSettings, 'maxTokens' | 'lowercase'>> {
  const names = await namesIn(folder)
  const name = names.filter((each) => sentenceConfigPattern.test(each)).sort()[0]
  const config = await openConfig(folder, name)
  const tokenizer = await openConfig(folder, names.includes(tokenizerConfigName) ? tokenizerConfigName : undefined)
  const ofTokenizer = tokenizer.fields.get('model_max_length')
  const maxTokens = config.has('max_seq_length')
    ? config.size('max_seq_length')
    : typeof ofTokenizer === 'number' && ofTokenizer <= maxLimit
      ? tokenizer.size('model_max_length')
      : undefined
  return { ...(maxTokens !== undefined && { maxTokens }), lowercase: config.fields.get('do_lower_case') === true }
}

/** A config without fields if there is no file. */
const openConfig = async (folder: string, name: string | undefined): Promise<ConfigFile> =>
  name === undefined
    ? new ConfigFile(folder, new Map())
    : new ConfigFile(join(folder, name), await readModelJson(folder, name))

const maxPromptCharacters = 1_000

/** The settings in config_sentence_transformers.json, which may be missing. */
async function readPrompts(directory: string): Promise<Pick<SentenceSettings, 'prompts' | 'defaultPrompt'>> {
  if (!(await namesIn(directory)).includes(promptsName)) return { prompts: new Map(), defaultPrompt: '' }
  const config = new ConfigFile(join(directory, promptsName), await readModelJson(directory, promptsName))
  const prompts = new Map(
    Array.from(config.below('prompts').fields, ([name, prompt]) => {
      // A purpose without a prompt may be null.
      const text = prompt ?? ''
      if (typeof text === 'string' && text.length <= maxPromptCharacters) return [name, text]
      return config.throwInvalidConfig(
        `the prompt ${quoted(name)} is invalid; expected a text of at most ${maxPromptCharacters} characters`,
      )
    }),
  )
  const name = config.fields.get('default_prompt_name') ?? undefined
  if (name === undefined) return { prompts, defaultPrompt: '' }
  const defaultPrompt = typeof name === 'string' ? prompts.get(name) : undefined
  return defaultPrompt === undefined
    ? config.throwInvalidConfig(
        `default_prompt_name is ${JSON.stringify(name)}; expected one of the prompts: ${[...prompts.keys()].join(', ')}`,
      )
    : { prompts, defaultPrompt }
}

/** Whether a directory is one of sentence-transformers. */
export const hasModules = async (directory: string): Promise<boolean> =>
  (await namesIn(directory)).includes(modulesName)

const namesIn = (folder: string): Promise<string[]> => readdir(folder).catch((): string[] => [])
