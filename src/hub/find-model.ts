// Finds the directory of a model that a user names by a path or by a name of the Hugging Face Hub. A path takes precedence.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { prototypeName } from '../petl/prototype-file.js'
import { flagOf } from '../settings.js'
import type { FetchOptions } from './fetch-model.js'
import { parseHubName } from './hub-name.js'

/**
 * @param given the value of --model-dir
 * @throws Problem, as fetchModel does
 */
export async function findModel(given: string, options: FetchOptions = {}): Promise<string> {
  const name = parseHubName(given)
  if (name === undefined) return given
  // Only this module needs the library of the Hub.
  const { fetchModel } = await import('./fetch-model.js')
  return fetchModel(name, options)
}

/** The prototype file in a model's directory, if there is one. */
export function prototypeIn(directory: string): string | undefined {
  const path = join(directory, prototypeName)
  return existsSync(path) ? path : undefined
}

/** @param model the value of --model-dir */
export function howToMakePrototype(model: string): string {
  const train = (out: string) => `propetl train DATA... ${flagOf('modelDir')} ${model} --out ${out}`
  return parseHubName(model)
    ? `Train a prototype for this backbone with "${train('DIR')}", and pass ${flagOf('prototype')} DIR/${prototypeName}`
    : `Train a prototype for this backbone and write it there: ${train(model)}`
}
