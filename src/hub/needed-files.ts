// Which files of a model's repository the server needs: the weights in safetensors, and the files that describe them.

import { posix, join as systemJoin } from 'node:path'
import { configName, describeMissing, tokenizerName, weightsIndexName, weightsName } from '../backbones/model-files.js'
import {
  modulesName,
  promptsName,
  readModules,
  sentenceConfigPattern,
  tokenizerConfigName,
} from '../backbones/sentence-modules.js'
import { shardNames } from '../backbones/stored-weights.js'
import { prototypeName } from '../petl/prototype-file.js'
import { Problem } from '../problem.js'

const { basename, join } = posix

/**
 * @param paths all files of the repository
 * @param directory where `obtain` makes them available
 * @param where the repository, for errors
 * @returns the needed files; the weights are last, so that a directory with them has all others
 * @throws Problem `invalid_backbone` if a file is missing or invalid
 */
export async function neededFiles(
  paths: ReadonlySet<string>,
  directory: string,
  where: string,
  obtain: (path: string) => Promise<void>,
): Promise<string[]> {
  if (paths.has(modulesName)) await obtain(modulesName)
  const modules = paths.has(modulesName) ? await readModules(directory) : []
  const folder = modules[0]?.path ?? ''
  const inFolder = (name: string) => join(folder, name)
  const names = [...paths].map((path) => basename(path)).filter((name) => paths.has(inFolder(name)))
  const optional = [
    modulesName,
    promptsName,
    prototypeName,
    inFolder(tokenizerConfigName),
    ...names.filter((name) => sentenceConfigPattern.test(name)).map(inFolder),
    ...modules.slice(1).flatMap(({ path }) => [join(path, configName), join(path, weightsName)]),
  ]
  const required = [configName, tokenizerName]
  if (!names.includes(weightsName) && names.includes(weightsIndexName)) {
    await obtain(inFolder(weightsIndexName))
    required.push(weightsIndexName, ...(await shardNames(systemJoin(directory, folder))))
  } else required.push(weightsName)
  const missing = required.find((name) => !names.includes(name))
  if (missing !== undefined)
    throw new Problem('invalid_backbone', describeMissing(join(where, inFolder(missing)), missing, names))
  return [...new Set([...optional.filter((path) => paths.has(path)), ...required.map(inFolder)])]
}
