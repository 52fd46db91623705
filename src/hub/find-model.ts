// Finds the directory of a model that a user names by a path or by a name of the Hugging Face Hub. A path takes precedence.

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
