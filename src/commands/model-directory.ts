// Finds the model that --model-dir names before a command loads it, so that the error names the mistake and the remedy.

import { existsSync, statSync } from 'node:fs'
import { findModel, prototypeIn } from '../hub/find-model.js'
import { parseHubName } from '../hub/hub-name.js'
import { bundledModelDir } from '../package.js'
import { Problem } from '../problem.js'
import { flagOf } from '../settings.js'
import { Interrupted, untilInterrupted } from './interrupt.js'
import { ProgressLine } from './progress-line.js'
import { shellWord } from './upload-command.js'

/** The options that name a model. */
export interface ModelFlags {
  /** A directory, or a name of the Hugging Face Hub. */
  readonly modelDir: string
  /** The prototype file, if it is not in the directory. */
  readonly prototype?: string | undefined
}

/** Where a command finds the files of a model. */
export interface ModelFiles {
  readonly directory: string
  /** Undefined if the model has none. */
  readonly prototype: string | undefined
}

/**
 * Finds the files of a model. A model of the Hugging Face Hub is downloaded, with its progress on stderr.
 * @throws Problem `invalid_setting`, or one of fetchModel; Interrupted after Ctrl-C
 */
export async function findModelFiles(flags: ModelFlags): Promise<ModelFiles> {
  const { modelDir } = flags
  checkModel(flags)
  const directory = parseHubName(modelDir) ? await download(modelDir) : modelDir
  return { directory, prototype: flags.prototype ?? prototypeIn(directory) }
}

/**
 * @throws Problem `invalid_setting` if the model is neither a directory nor a name of the Hugging Face Hub, or if there is
 *   no such prototype
 */
export function checkModel({ modelDir, prototype }: ModelFlags): void {
  const flag = flagOf('modelDir')
  const shown = shellWord(modelDir)
  if (prototype !== undefined && !existsSync(prototype))
    throw new Problem(
      'invalid_setting',
      `${flagOf('prototype')} ${prototype}: there is no such file; expected a prototype that "propetl train" made`,
    )
  if (modelDir === bundledModelDir && !existsSync(modelDir))
    throw new Problem(
      'invalid_setting',
      `the bundled model is not in this installation: the npm package does not contain it. Pass ${flag} with a ` +
        'Hugging Face directory that also has prototype.safetensors. Take models/all-MiniLM-L6-v2 of the source ' +
        'repository, or train a prototype for another backbone with "propetl train".',
    )
  if (parseHubName(modelDir)) return
  if (!existsSync(modelDir))
    throw new Problem(
      'invalid_setting',
      `${flag} ${shown}: there is no such directory. Expected a Hugging Face directory with config.json, ` +
        'tokenizer.json and model.safetensors, or a model of the Hugging Face Hub as organisation/name.',
    )
  if (!statSync(modelDir).isDirectory())
    throw new Problem('invalid_setting', `${flag} ${shown} is a file; expected the directory that contains the model`)
}

async function download(name: string): Promise<string> {
  const line = new ProgressLine(process.stderr)
  try {
    return await untilInterrupted(
      (signal) =>
        findModel(name, {
          signal,
          onProgress: ({ done, total }) => line.downloading(name, done, total),
          onWarning: (warning) => line.print(`warning: ${warning}`),
        }),
      () => line.print('stopping the download; it continues there the next time'),
    )
  } catch (error) {
    if (error instanceof Problem && error.code === 'shutting_down') throw new Interrupted(error.message)
    throw error
  } finally {
    line.end()
  }
}
