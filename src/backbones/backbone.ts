// A backbone in a Hugging Face directory: config.json, and the weights in safetensors files. Only their headers are read
// here. onnxruntime reads the weights straight from the files.

import type { Architecture, Dimensions } from './architecture.js'
import { ConfigFile } from './config-file.js'
import { type ModelType, readArchitecture } from './families.js'
import { readStoredWeights, type StoredWeights } from './stored-weights.js'

/** Plain data, so that it can be sent to another thread. */
export interface Backbone extends StoredWeights {
  readonly directory: string
  readonly type: ModelType
  readonly dims: Dimensions
  /** Path and fields of config.json, for {@link architectureOf}. */
  readonly configFile: Pick<ConfigFile, 'path' | 'fields'>
}

/**
 * Reads the description of a backbone.
 * @throws Problem `invalid_backbone` that names the file and the field
 */
export async function readBackbone(directory: string): Promise<Backbone> {
  const config = await ConfigFile.read(directory)
  const { type, dims } = readArchitecture(config)
  const { path, fields } = config
  return { directory, type, dims, configFile: { path, fields }, ...(await readStoredWeights(directory)) }
}

/** What the backbone's family makes of its config.json. */
export const architectureOf = ({ configFile: { path, fields } }: Pick<Backbone, 'configFile'>): Architecture =>
  readArchitecture(new ConfigFile(path, fields))
