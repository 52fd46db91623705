// Finds a backbone's tensors: in model.safetensors, or in the files (shards) that an index names. Only the headers of the
// files are read.

import { access, realpath } from 'node:fs/promises'
import { dirname, join, relative, sep } from 'node:path'
import { digestOf, digestOfFile } from '../formats/digest.js'
import { headerLength, parseHeader, type SafetensorsHeader, type TensorInfo } from '../formats/safetensors.js'
import { Problem, quoted } from '../problem.js'
import { readBytes, readModelJson, weightsIndexName, weightsName, withModelFile } from './model-files.js'

export interface StoredTensor extends TensorInfo {
  /** Path of its file relative to `weightsFolder`, with `/` between folders. */
  readonly file: string
}

export interface StoredWeights {
  /**
   * SHA-256 of the weights file. For several files: SHA-256 of a text that has the hexadecimal SHA-256 of each file on a
   * line, in the order of the file names.
   */
  readonly digest: string
  readonly tensors: ReadonlyMap<string, StoredTensor>
  /** Folder of the real files. The directory may contain only links to them, as in the Hugging Face cache. */
  readonly weightsFolder: string
  /** `model.safetensors` or the index, for errors. */
  readonly weightsSource: string
}

/** The largest models on the Hub have fewer than 200. */
const maxShards = 1_000

/** @throws Problem `invalid_backbone` that names the file */
export async function readStoredWeights(directory: string): Promise<StoredWeights> {
  const has = (name: string) =>
    access(join(directory, name)).then(
      () => true,
      () => false,
    )
  return !(await has(weightsName)) && (await has(weightsIndexName)) ? readShards(directory) : readOneFile(directory)
}

async function readOneFile(directory: string): Promise<StoredWeights> {
  const { header, digest, path } = await readWeightsFile(directory, weightsName)
  const [weightsFolder, file] = [dirname(path), relative(dirname(path), path)]
  const tensors = new Map(Array.from(header.tensors, ([name, info]) => [name, { ...info, file }]))
  return { digest, tensors, weightsFolder, weightsSource: weightsName }
}

async function readShards(directory: string): Promise<StoredWeights> {
  const shardOf = await readIndex(directory)
  const names = distinctNames(directory, shardOf)
  const shards = new Map<string, WeightsFile>()
  for (const name of names) shards.set(name, await readWeightsFile(directory, name))
  const weightsFolder = commonFolder(Array.from(shards.values(), ({ path }) => path))
  const tensors = new Map<string, StoredTensor>()
  for (const [tensor, name] of shardOf) {
    const shard = shards.get(name)
    const info = shard?.header.tensors.get(tensor)
    if (shard === undefined || info === undefined)
      return throwInvalidIndex(
        directory,
        `tensor ${quoted(tensor)} is missing in ${name}, the file that the index names`,
      )
    tensors.set(tensor, { ...info, file: relative(weightsFolder, shard.path).replaceAll(sep, '/') })
  }
  const digest = digestOfAll(Array.from(shards.values(), (shard) => shard.digest))
  return { digest, tensors, weightsFolder, weightsSource: weightsIndexName }
}

/**
 * The names of the files in the index of a directory, sorted.
 * @throws Problem `invalid_backbone` if the index is missing or invalid
 */
export const shardNames = async (directory: string): Promise<string[]> =>
  distinctNames(directory, await readIndex(directory))

function distinctNames(directory: string, shardOf: ReadonlyMap<string, string>): string[] {
  const names = [...new Set(shardOf.values())].sort()
  if (names.length === 0) throwInvalidIndex(directory, '"weight_map" names no file')
  if (names.length > maxShards)
    throwInvalidIndex(directory, `the index names ${names.length} files; expected at most ${maxShards}`)
  return names
}

function digestOfAll(digests: readonly string[]): string {
  const [only] = digests
  if (digests.length === 1 && only !== undefined) return only
  return digestOf(Buffer.from(digests.map((digest) => `${digest}\n`).join('')))
}

/** The file of each tensor, from the `weight_map` of the index. */
async function readIndex(directory: string): Promise<ReadonlyMap<string, string>> {
  const map = (await readModelJson(directory, weightsIndexName)).get('weight_map')
  if (typeof map !== 'object' || map === null || Array.isArray(map))
    return throwInvalidIndex(directory, '"weight_map" is missing; expected an object with the file of each tensor')
  return new Map(
    Object.entries(map).map(([tensor, file]) => {
      // Only a plain file name, so that an index cannot point outside its directory.
      if (typeof file === 'string' && /^\w[\w.-]*\.safetensors$/.test(file)) return [tensor, file]
      const given = typeof file === 'string' ? quoted(file) : `of type ${typeof file}`
      return throwInvalidIndex(
        directory,
        `the file of tensor ${quoted(tensor)} is ${given}; expected the name of a .safetensors file in the same directory`,
      )
    }),
  )
}

interface WeightsFile {
  readonly header: SafetensorsHeader
  readonly digest: string
  /** The real path, with links resolved. */
  readonly path: string
}

async function readWeightsFile(directory: string, name: string): Promise<WeightsFile> {
  const path = join(directory, name)
  try {
    return await withModelFile(directory, name, async (file, size) => {
      const prefix = await readBytes(file, Math.min(8, size))
      const header = parseHeader(await readBytes(file, 8 + headerLength(prefix, size)), size)
      const [digest, real] = await Promise.all([digestOfFile(path), realpath(path)])
      return { header, digest, path: real }
    })
  } catch (error) {
    if (error instanceof Problem && error.code === 'invalid_backbone') throw error
    throw new Problem('invalid_backbone', `${path}: ${(error as Error).message}`)
  }
}

/** The innermost folder that contains all files. */
function commonFolder(paths: readonly string[]): string {
  const [first = sep] = paths
  let folder = dirname(first)
  const holds = (path: string) => path.startsWith(folder.endsWith(sep) ? folder : folder + sep)
  while (!paths.every(holds) && dirname(folder) !== folder) folder = dirname(folder)
  return folder
}

function throwInvalidIndex(directory: string, message: string): never {
  throw new Problem('invalid_backbone', `${join(directory, weightsIndexName)}: ${message}`)
}
