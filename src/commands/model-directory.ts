// Finds the model that --model-dir names before a command loads it, so that the error names the mistake and the remedy.

import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { findModel } from '../hub/find-model.js'
import { parseHubName } from '../hub/hub-name.js'
import { bundledModelDir } from '../package.js'
import { prototypeName } from '../petl/prototype-file.js'
import { Problem } from '../problem.js'
import { flagOf } from '../settings.js'
import { Interrupted, untilInterrupted } from './interrupt.js'
import { ProgressLine } from './progress-line.js'

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
  readonly prototype: string
}

/**
 * Finds the files of a model. A model of the Hugging Face Hub is downloaded, with its progress on stderr.
 * @param needsPrototype whether the command uses the prototype, too
 * @throws Problem `invalid_setting`, or one of fetchModel; Interrupted after Ctrl-C
 */
export async function findModelFiles(flags: ModelFlags, needsPrototype: boolean): Promise<ModelFiles> {
  const { modelDir } = flags
  checkModelDirectory(modelDir)
  const directory = parseHubName(modelDir) ? await download(modelDir) : modelDir
  if (needsPrototype) checkPrototype(flags, directory)
  return { directory, prototype: flags.prototype ?? join(directory, prototypeName) }
}

/** @throws Problem `invalid_setting` if it is neither a directory nor a name of the Hugging Face Hub */
export function checkModelDirectory(directory: string): void {
  const flag = flagOf('modelDir')
  if (directory === bundledModelDir && !existsSync(directory))
    throw new Problem(
      'invalid_setting',
      `the bundled model is not in this installation: the npm package does not contain it. Pass ${flag} with a ` +
        'Hugging Face directory that also has prototype.safetensors. Take models/all-MiniLM-L6-v2 of the source ' +
        'repository, or train a prototype for another backbone with "propetl train".',
    )
  if (parseHubName(directory)) return
  if (!existsSync(directory))
    throw new Problem(
      'invalid_setting',
      `${flag} ${directory}: there is no such directory. Expected a Hugging Face directory with config.json, ` +
        'tokenizer.json and model.safetensors, or a model of the Hugging Face Hub as organisation/name.',
    )
  if (!statSync(directory).isDirectory())
    throw new Problem(
      'invalid_setting',
      `${flag} ${directory} is a file; expected the directory that contains the model`,
    )
}

/**
 * @param directory where the model is
 * @throws Problem `invalid_setting` if there is no prototype; it says how to make one
 */
export function checkPrototype({ modelDir, prototype }: ModelFlags, directory: string): void {
  if (existsSync(prototype ?? join(directory, prototypeName))) return
  const [model, file] = [flagOf('modelDir'), flagOf('prototype')]
  if (prototype !== undefined)
    throw new Problem(
      'invalid_setting',
      `${file} ${prototype}: there is no such file; expected the file of a prototype`,
    )
  throw new Problem(
    'invalid_setting',
    `${model} ${modelDir} has no ${prototypeName}. ` +
      (parseHubName(modelDir)
        ? `Train a prototype for this backbone with "propetl train DATA... ${model} ${modelDir} --out DIR", and pass ${file} DIR/${prototypeName}`
        : `Train a prototype for this backbone and write it there: propetl train DATA... ${model} ${modelDir} --out ${modelDir}`),
  )
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
