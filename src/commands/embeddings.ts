// `propetl embeddings`: writes the task file of a model's own embeddings. The task needs no training, mask or prototype.

import { readBackbone } from '../backbones/backbone.js'
import type { SentenceSettings } from '../backbones/sentence-modules.js'
import type { Pooling, Task } from '../petl/task.js'
import { serializeTaskFile } from '../petl/task-file.js'
import { Problem, quoted } from '../problem.js'
import { type Fact, factLines, listed } from './fact-lines.js'
import { findModelFiles, type ModelFlags } from './model-directory.js'
import { checkWritable, writeAtomically } from './output-file.js'
import { uploadCommand } from './upload-command.js'

export interface EmbeddingsFlags extends ModelFlags {
  readonly out: string
  /** The name of a prompt of the directory. */
  readonly prompt?: string
  readonly textPrefix?: string
  readonly pooling?: Pooling
  readonly normalize?: boolean
  readonly description?: string
  readonly json?: boolean
}

/**
 * Writes the task file.
 * @returns the text to print
 * @throws Problem `invalid_setting`, `invalid_backbone`, `unwritable_file`
 */
export async function embeddings(flags: EmbeddingsFlags): Promise<string> {
  const { out, description } = flags
  await checkWritable(out)
  const { directory } = await findModelFiles(flags)
  const { digest, dims, sentence } = await readBackbone(directory)
  const textPrefix = textPrefixOf(flags, sentence)
  const task = {
    problemType: 'feature_extraction',
    backbone: digest,
    labels: [],
    pooling: flags.pooling ?? sentence?.pooling ?? 'mean',
    normalize: flags.normalize ?? sentence?.normalize ?? true,
    ...(sentence?.dense && { projection: sentence.dense }),
    ...(sentence && { maxLength: dims.maxTokens }),
    ...(textPrefix !== '' && { textPrefix }),
    ...(description !== undefined && { description }),
  } as const satisfies Task
  const file = serializeTaskFile(task)
  await writeAtomically(out, file)
  const { pooling, normalize } = task
  const size = sentence?.dense?.outputs ?? dims.hiddenSize
  if (flags.json)
    return JSON.stringify({ file: out, bytes: file.byteLength, size, pooling, normalize, text_prefix: textPrefix })
  const facts: Fact[] = [
    ['file', `${out}, ${file.byteLength.toLocaleString('en-US')} bytes`],
    ['vectors', `${size} numbers, ${normalize ? 'with L2 norm 1' : 'not normalised'}`],
    ['pooling', pooling],
    ...(textPrefix === '' ? [] : [['text prefix', JSON.stringify(textPrefix)] as const]),
    ...listed('put it live', uploadCommand(out, process.env)),
  ]
  return factLines(facts)
}

/** @throws Problem `invalid_setting` if the directory has no prompt of that name */
function textPrefixOf(
  { prompt, textPrefix }: EmbeddingsFlags,
  sentence: Pick<SentenceSettings, 'prompts' | 'defaultPrompt'> | undefined,
): string {
  if (prompt === undefined) return textPrefix ?? sentence?.defaultPrompt ?? ''
  const found = sentence?.prompts.get(prompt)
  if (found !== undefined) return found
  const names = [...(sentence?.prompts.keys() ?? [])]
  throw new Problem(
    'invalid_setting',
    `--prompt ${quoted(prompt)}: the directory has no prompt of that name; ` +
      (names.length > 0
        ? `expected ${names.join(' | ')}`
        : 'it has no prompts; pass the text itself with --text-prefix'),
  )
}
