// A backbone as Hugging Face directories hold it: config.json and the weights in safetensors files. onnxruntime reads the
// weights straight from these files; only their headers are read here.

import { ConfigFile } from './config-file.js'
import { type EncoderConfig, encoderConfig } from './families.js'
import { readStoredWeights, type StoredWeights } from './stored-weights.js'

export interface Backbone extends StoredWeights {
  readonly directory: string
  readonly config: EncoderConfig
}

/**
 * Reads the description of a backbone.
 * @throws Problem `invalid_backbone` naming the file and the field
 */
export async function readBackbone(directory: string): Promise<Backbone> {
  const config = encoderConfig(await ConfigFile.read(directory))
  return { directory, config, ...(await readStoredWeights(directory)) }
}
