// A backbone as Hugging Face directories hold it: config.json, tokenizer.json and model.safetensors. Its weights are
// read by onnxruntime straight from the file; here only their header is.

import { open, realpath } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { digestOfFile } from '../formats/digest.js'
import { headerLength, parseHeader, type SafetensorsHeader } from '../formats/safetensors.js'
import { Problem } from '../problem.js'
import { ConfigFile } from './config-file.js'
import { type EncoderConfig, encoderConfig } from './families.js'

export interface Backbone {
  readonly directory: string
  readonly config: EncoderConfig
  /** SHA-256 of model.safetensors. */
  readonly digest: string
  readonly weights: SafetensorsHeader
  /** Folder and name of the file that model.safetensors is, or links to: Hugging Face's cache consists of links. */
  readonly weightsFolder: string
  readonly weightsFile: string
}

export const weightsName = 'model.safetensors'

/**
 * Reads the description of a backbone.
 * @throws Problem `invalid_backbone` naming the file and the field
 */
export async function readBackbone(directory: string): Promise<Backbone> {
  const path = join(directory, weightsName)
  const [config, weights, digest, file] = await Promise.all([
    ConfigFile.read(join(directory, 'config.json')).then(encoderConfig),
    readWeightsHeader(path),
    digestOfFile(path).catch(unreadable(path)),
    realpath(path).catch(unreadable(path)),
  ])
  return { directory, config, digest, weights, weightsFolder: dirname(file), weightsFile: basename(file) }
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

const unreadable = (path: string) => (error: Error) => {
  throw new Problem('invalid_backbone', `${path} cannot be read: ${error.message}`)
}
