// Loads what training and evaluation need: a backbone with its tokenizer, its prototype, and task files.

import { join } from 'node:path'
import { type Backbone, readBackbone } from '../backbones/backbone.js'
import { TextTokenizer } from '../backbones/tokenizer.js'
import { inFile, readFileAs } from '../formats/file.js'
import { checkTaskFitsPrototype } from '../petl/combining.js'
import type { Prototype } from '../petl/prototype.js'
import { prototypeName, readPrototypeFile } from '../petl/prototype-file.js'
import { readTaskFile, type TaskFile } from '../petl/task-file.js'
import { checkPrototypeFitsBackbone } from '../runtime/serving-graph.js'

export interface Model {
  readonly backbone: Backbone
  readonly tokenizer: TextTokenizer
}

/**
 * @param maxTokens longer texts are truncated to this many tokens
 * @throws Problem `invalid_backbone`
 */
export async function loadModel(directory: string, maxTokens?: number): Promise<Model> {
  const backbone = await readBackbone(directory)
  return { backbone, tokenizer: await TextTokenizer.open(backbone, maxTokens) }
}

/**
 * @param path the prototype file
 * @throws Problem `invalid_prototype`, `prototype_mismatch`
 */
export async function loadPrototypeFor(
  backbone: Backbone,
  path = join(backbone.directory, prototypeName),
): Promise<Prototype> {
  const prototype = await readPrototypeFile(path)
  inFile(path, () => checkPrototypeFitsBackbone(prototype, backbone))
  return prototype
}

/** @throws Problem `unreadable_file`, `invalid_task_file`, `prototype_mismatch` */
export const loadTaskFile = (path: string, prototype: Prototype): Promise<TaskFile> =>
  readFileAs(path, 'unreadable_file', (bytes) => {
    const task = readTaskFile(bytes)
    checkTaskFitsPrototype(task, prototype)
    return task
  })
