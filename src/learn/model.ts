// Loads what training and evaluation need: a backbone with its tokenizer, its prototype, and task files.

import { join } from 'node:path'
import { type Backbone, readBackbone } from '../backbones/backbone.js'
import type { Pooling } from '../backbones/pooling.js'
import { TextTokenizer } from '../backbones/tokenizer.js'
import { inFile, readFileAs } from '../formats/file.js'
import { checkTaskFits, type ServedModel } from '../petl/combining.js'
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

/** Tokens to which training cuts longer texts, unless the directory says otherwise. Most texts are shorter. */
const defaultTrainingTokens = 128
/** Longer texts would take much time and memory, so only an option selects them. */
const maxDefaultTrainingTokens = 512

/**
 * Loads a model for training.
 * @param maxTokens default: the maximum length that a directory of sentence-transformers names, at most 512; otherwise 128
 * @throws Problem `invalid_backbone`
 */
export async function loadModelForTraining(directory: string, maxTokens?: number): Promise<Model> {
  const backbone = await readBackbone(directory)
  const named = backbone.sentence?.maxTokens ?? defaultTrainingTokens
  return {
    backbone,
    tokenizer: await TextTokenizer.open(backbone, maxTokens ?? Math.min(named, maxDefaultTrainingTokens)),
  }
}

/** What precedes each text of a new task, unless an option names another prefix. */
export const defaultTextPrefix = ({ sentence }: Backbone): string | undefined => sentence?.defaultPrompt || undefined

/** The pooling of a new task, unless an option selects another one. */
export const defaultPooling = ({ sentence }: Backbone): Pooling => sentence?.pooling ?? 'mean'

/**
 * @param path the prototype file
 * @throws Problem `invalid_prototype`, `prototype_mismatch`
 */
export async function loadPrototypeFor(
  backbone: Backbone,
  path = join(backbone.root, prototypeName),
): Promise<Prototype> {
  const prototype = await readPrototypeFile(path)
  inFile(path, () => checkPrototypeFitsBackbone(prototype, backbone))
  return prototype
}

/** @throws Problem `unreadable_file`, `invalid_task_file`, `prototype_mismatch`, `backbone_mismatch` */
export const loadTaskFile = (path: string, model: ServedModel): Promise<TaskFile> =>
  readFileAs(path, 'unreadable_file', (bytes) => {
    const task = readTaskFile(bytes)
    checkTaskFits(task, model)
    return task
  })
