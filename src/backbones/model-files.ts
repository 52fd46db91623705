// Opens the files of a model's directory. If one is missing or has another format, the error says what to do.

import { type FileHandle, open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { lfsStartBytes, throwIfLfsPointer } from '../formats/file.js'
import { hasAtMostValues, maxValues } from '../formats/json.js'
import { Problem, shortened } from '../problem.js'

export const configName = 'config.json'
export const tokenizerName = 'tokenizer.json'
export const weightsName = 'model.safetensors'
/** Names the file of each tensor if the weights are in several files. */
export const weightsIndexName = 'model.safetensors.index.json'

const maxJsonBytes = 10_000_000

interface Advice {
  /** Files of other formats that directories often have instead. */
  readonly others: readonly RegExp[]
  readonly advice: string
  /** The advice if the directory has such a file. */
  readonly adviceInstead?: string
}

const downloadAll = 'Download it with the other files of the model.'

const save = (what: string, type: string) =>
  `Save the ${what} with the Python package transformers: ${type}.from_pretrained(directory).save_pretrained(directory).`

const missing: Readonly<Record<string, Advice>> = {
  [configName]: {
    others: [/\.gguf$/i, /^params\.json$/, /^model_index\.json$/, /^open_clip_config\.json$/, /\.onnx$/],
    advice: downloadAll,
    adviceInstead:
      'Use the directory of the original model, as the Python package transformers saves it: with config.json, ' +
      'tokenizer.json and model.safetensors.',
  },
  [tokenizerName]: {
    others: [
      /^vocab\.txt$/,
      /^vocab\.json$/,
      /^(sentencepiece\.bpe|spiece|spm|tokenizer)\.model$/,
      /^tokenizer_config\.json$/,
    ],
    advice: save('tokenizer', 'AutoTokenizer'),
  },
  [weightsName]: {
    others: [
      /^pytorch_model.*\.bin(\.index\.json)?$/,
      /\.(pt|pth|ckpt)$/,
      /^tf_model.*\.h5$/,
      /^flax_model.*\.msgpack$/,
      /^model\.ckpt/,
      /\.gguf$/i,
      /\.onnx$/,
      /^onnx$/,
      /^openvino/,
      /^adapter_model\.safetensors$/,
    ],
    advice: save('model', 'AutoModel'),
  },
}

/**
 * Opens a file of a model's directory for the time of `read`.
 * @param read receives the open file and its size in bytes
 * @throws Problem `invalid_backbone` if the file is missing, is not a regular file, or is a Git LFS pointer
 */
export async function withModelFile<T>(
  directory: string,
  name: string,
  read: (file: FileHandle, size: number) => Promise<T>,
): Promise<T> {
  const path = join(directory, name)
  const file = await open(path).catch((error: NodeJS.ErrnoException) => throwUnreadable(directory, name, error))
  try {
    const stat = await file.stat()
    if (!stat.isFile()) throw new Problem('invalid_backbone', `${path} is not a file`)
    throwIfLfsPointer(path, 'invalid_backbone', await readBytes(file, Math.min(lfsStartBytes, stat.size)))
    return await read(file, stat.size)
  } finally {
    await file.close()
  }
}

/** The first bytes of a file. */
export async function readBytes(file: FileHandle, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length)
  const { bytesRead } = await file.read(bytes, 0, length, 0)
  return bytes.subarray(0, bytesRead)
}

/**
 * The fields of a JSON file in a model's directory.
 * @throws Problem `invalid_backbone` if the file is missing, too large, or not a JSON object
 */
export async function readModelJson(directory: string, name: string): Promise<ReadonlyMap<string, unknown>> {
  const value = await readModelValue(directory, name)
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return new Map(Object.entries(value))
  const found = shortened(JSON.stringify(value), 80)
  throw new Problem('invalid_backbone', `${join(directory, name)}: the file is ${found}; expected a JSON object`)
}

/**
 * The value in a JSON file of a model's directory.
 * @throws Problem `invalid_backbone` if the file is missing, too large, or not JSON
 */
export async function readModelValue(directory: string, name: string): Promise<unknown> {
  const path = join(directory, name)
  const throwInvalidBackbone = (message: string): never => {
    throw new Problem('invalid_backbone', `${path}: ${message}`)
  }
  const text = await withModelFile(directory, name, async (file, size) => {
    if (size > maxJsonBytes) throwInvalidBackbone(`the file has ${size} bytes; expected at most ${maxJsonBytes}`)
    return (await readBytes(file, size)).toString('utf8')
  })
  if (!hasAtMostValues(text)) throwInvalidBackbone(`the JSON has more than ${maxValues} values`)
  try {
    return JSON.parse(text)
  } catch (error) {
    return throwInvalidBackbone(`the file is not JSON: ${(error as Error).message}`)
  }
}

async function throwUnreadable(directory: string, name: string, error: NodeJS.ErrnoException): Promise<never> {
  const path = join(directory, name)
  const throwInvalidBackbone = (message: string): never => {
    throw new Problem('invalid_backbone', message)
  }
  if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR')
    return throwInvalidBackbone(`${path} cannot be read: ${error.message}`)
  const names = await readdir(directory).catch(() => undefined)
  if (names === undefined)
    return throwInvalidBackbone(
      `${directory} is not a readable directory. Expected a directory with ${configName}, ${tokenizerName} and ${weightsName}.`,
    )
  if (names.includes(name))
    return throwInvalidBackbone(`${path} is a link to a file that does not exist. Download it again.`)
  return throwInvalidBackbone(describeMissing(path, name, names))
}

/**
 * Says that a file is missing, and what to do.
 * @param names the files that are in its place
 */
export function describeMissing(path: string, name: string, names: readonly string[]): string {
  const { others, advice, adviceInstead = advice } = missing[name] ?? { others: [], advice: downloadAll }
  const other = names.find((each) => others.some((pattern) => pattern.test(each)))
  return other === undefined
    ? `${path} is missing. ${advice}`
    : `${path} is missing, and ${other} cannot be used instead. ${adviceInstead}`
}
