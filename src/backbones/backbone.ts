// A backbone in a Hugging Face directory: config.json, and the weights in safetensors files. Only their headers are read
// here. onnxruntime reads the weights straight from the files.

import { join } from 'node:path'
import type { Architecture, Dimensions } from './architecture.js'
import { ConfigFile } from './config-file.js'
import { type ModelType, readArchitecture } from './families.js'
import { hasModules, readModules, readSentenceSettings, type SentenceSettings } from './sentence-modules.js'
import { readStoredWeights, type StoredWeights } from './stored-weights.js'

/** Plain data, so that it can be sent to another thread. */
export interface Backbone extends StoredWeights {
  /** The directory that the user named. */
  readonly root: string
  /** Where the transformer is: the same directory, or a folder in it. */
  readonly directory: string
  readonly type: ModelType
  readonly dims: Dimensions
  /** Path and fields of config.json, for {@link architectureOf}. */
  readonly configFile: Pick<ConfigFile, 'path' | 'fields'>
  /** For directories of sentence-transformers. */
  readonly sentence?: SentenceSettings
}

/**
 * Reads the description of a backbone.
 * @throws Problem `invalid_backbone` that names the file and the field
 */
export async function readBackbone(root: string): Promise<Backbone> {
  const modules = (await hasModules(root)) ? await readModules(root) : undefined
  const directory = join(root, modules?.[0]?.path ?? '')
  const config = await ConfigFile.read(directory)
  const { type, dims } = readArchitecture(config)
  const { path, fields } = config
  const sentence = modules && (await readSentenceSettings(root, modules, dims.hiddenSize))
  return {
    root,
    directory,
    type,
    dims: { ...dims, maxTokens: Math.min(dims.maxTokens, sentence?.maxTokens ?? dims.maxTokens) },
    configFile: { path, fields },
    ...(sentence && { sentence }),
    ...(await readStoredWeights(directory)),
  }
}

/** What the backbone's family makes of its config.json. */
export const architectureOf = ({ configFile: { path, fields } }: Pick<Backbone, 'configFile'>): Architecture =>
  readArchitecture(new ConfigFile(path, fields))
