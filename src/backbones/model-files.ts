// The files of a model's directory: opened with checks, and with advice where one is missing or comes in another format.

import { type FileHandle, open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { lfsStartBytes, throwIfLfsPointer } from '../formats/file.js'
import { hasAtMostValues, maxValues } from '../formats/json.js'
import { bundledModelDir } from '../package.js'
import { Problem } from '../problem.js'

export const configName = 'config.json'
export const tokenizerName = 'tokenizer.json'
export const weightsName = 'model.safetensors'
/** Says which of several files holds each tensor. */
export const weightsIndexName = 'model.safetensors.index.json'

const maxJsonBytes = 10_000_000

interface Advice {
  /** Files of other formats that may be there in its place. */
  readonly others: readonly string[]
  readonly advice: string
}

const save = (what: string, type: string) =>
  `Save the ${what} with the Python package transformers: ${type}.from_pretrained(directory).save_pretrained(directory).`

const missing: Readonly<Record<string, Advice>> = {
  [tokenizerName]: {
    others: ['vocab.txt', 'vocab.json', 'sentencepiece.bpe.model', 'spiece.model', 'tokenizer.model'],
    advice: save('tokenizer', 'AutoTokenizer'),
  },
  [weightsName]: {
    others: [
      'pytorch_model.bin',
      'pytorch_model.bin.index.json',
      'tf_model.h5',
      'flax_model.msgpack',
      'model.ckpt.index',
    ],
    advice: save('model', 'AutoModel'),
  },
}

/**
 * Opens a file of a model's directory and closes it again.
 * @param name its name in the directory
 * @param read gets the open file and its size in bytes
 * @throws Problem `invalid_backbone` that says what to do, if there is no such file or only a pointer to it
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
 * The fields of a JSON object in a model's directory.
 * @throws Problem `invalid_backbone`, also if the file is too large
 */
export async function readModelJson(directory: string, name: string): Promise<ReadonlyMap<string, unknown>> {
  const path = join(directory, name)
  const throwInvalidBackbone = (message: string): never => {
    throw new Problem('invalid_backbone', `${path}: ${message}`)
  }
  const text = await withModelFile(directory, name, async (file, size) => {
    if (size > maxJsonBytes) throwInvalidBackbone(`it has ${size} bytes; expected at most ${maxJsonBytes}`)
    return (await readBytes(file, size)).toString('utf8')
  })
  if (!hasAtMostValues(text)) throwInvalidBackbone(`it has more than ${maxValues} values`)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    return throwInvalidBackbone(`not JSON: ${(error as Error).message}`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return throwInvalidBackbone(`expected an object of fields; it is ${text.slice(0, 80)}`)
  return new Map(Object.entries(value))
}

async function throwUnreadable(directory: string, name: string, error: NodeJS.ErrnoException): Promise<never> {
  const path = join(directory, name)
  const throwInvalidBackbone = (message: string): never => {
    throw new Problem('invalid_backbone', message)
  }
  if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR')
    return throwInvalidBackbone(`${path} cannot be read: ${error.message}`)
  const names = await readdir(directory).catch(() => undefined)
  if (names === undefined && directory === bundledModelDir)
    return throwInvalidBackbone(
      `the bundled model is not in this installation: the npm package does not contain it. Expected it in ${directory}. ` +
        'Pass --model-dir (PROPETL_MODEL_DIR for serve) with a Hugging Face directory that also has ' +
        'prototype.safetensors. Take models/all-MiniLM-L6-v2 of the source repository, or train a prototype for ' +
        'another backbone with "propetl train".',
    )
  if (names === undefined)
    return throwInvalidBackbone(
      `${directory} is not a directory that can be read. Expected one with ${configName}, ${tokenizerName} and ${weightsName}.`,
    )
  if (names.includes(name))
    return throwInvalidBackbone(`${path} is a link to a file that is not there. Download it again.`)
  const { others, advice } = missing[name] ?? { others: [], advice: 'Download it with the other files of the model.' }
  const other = others.find((each) => names.includes(each))
  return throwInvalidBackbone(
    `${path} is missing${other === undefined ? '' : `, and ${other} is not read in its place`}. ${advice}`,
  )
}
