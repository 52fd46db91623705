// Checks --model-dir before a command loads the model, so that the error names the mistake and the remedy.

import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { bundledModelDir } from '../package.js'
import { prototypeName } from '../petl/prototype-file.js'
import { Problem } from '../problem.js'
import { flagOf } from '../settings.js'

/** The form of a model name on the Hugging Face Hub: organisation/name. */
const hubName = /^[\w-][\w.-]*\/[\w-][\w.-]*$/

/**
 * @param needsPrototype whether the command uses the prototype of the model, too
 * @throws Problem `invalid_setting`
 */
export function checkModelDirectory(directory: string, needsPrototype: boolean): void {
  const flag = flagOf('modelDir')
  if (directory === bundledModelDir && !existsSync(directory))
    throw new Problem(
      'invalid_setting',
      `the bundled model is not in this installation: the npm package does not contain it. Pass ${flag} with a ` +
        'Hugging Face directory that also has prototype.safetensors. Take models/all-MiniLM-L6-v2 of the source ' +
        'repository, or train a prototype for another backbone with "propetl train".',
    )
  if (!existsSync(directory))
    throw new Problem(
      'invalid_setting',
      `${flag} ${directory}: there is no such directory. ` +
        (hubName.test(directory)
          ? `To use a model of the Hugging Face Hub, download it first: hf download ${directory} --local-dir DIR`
          : 'Expected a Hugging Face directory with config.json, tokenizer.json and model.safetensors.'),
    )
  if (!statSync(directory).isDirectory())
    throw new Problem(
      'invalid_setting',
      `${flag} ${directory} is a file; expected the directory that contains the model`,
    )
  if (needsPrototype && existsSync(join(directory, 'config.json')) && !existsSync(join(directory, prototypeName)))
    throw new Problem(
      'invalid_setting',
      `${flag} ${directory} has no ${prototypeName}. Train a prototype for this backbone and write it there: ` +
        `propetl train DATA... ${flag} ${directory} --out ${directory}`,
    )
}
