// The inputs of a request: checks them against their tasks before they are tokenised.

import type { Text, TextTokenizer } from '../backbones/tokenizer.js'
import { takesPairs } from '../petl/problem-files.js'
import { Problem } from '../problem.js'
import { typesWithThreshold } from './problems.js'
import type { Task, TaskInUse } from './ready-tasks.js'
import type { VersionChoice } from './versions.js'

export interface PredictionInput extends Text {
  readonly task: string
  /** The version of the task to use: its number, or the digest of its file. By default the server chooses. */
  readonly version?: VersionChoice
}

/** An input and its task. */
export interface InputAndTask {
  readonly input: PredictionInput
  readonly task: Task
}

/**
 * @param index of the input in the request
 * @throws Problem `empty_text`, `text_too_long`, `text_pair_not_taken`, `text_pair_missing`
 */
export function checkInput(
  { input, task }: InputAndTask,
  index: number,
  tokenizer: TextTokenizer,
  { truncate }: { readonly truncate: boolean },
): void {
  const maxCharacters = tokenizer.maxCharactersOf(task.file)
  for (const [name, value] of [['text', input.text] as const, ['text_pair', input.textPair] as const]) {
    if (value === undefined) continue
    if (isBlank(value.slice(0, maxCharacters)))
      throw new Problem('empty_text', `inputs[${index}]: ${name} is empty or has only whitespace; send a text`, {
        input: index,
        field: name,
      })
    if (!truncate && value.length > maxCharacters)
      throw new Problem(
        'text_too_long',
        `inputs[${index}]: ${name} has ${value.length} characters; send at most ${maxCharacters}, or set truncate to true`,
        { input: index, characters: value.length, limit: maxCharacters },
      )
  }
  checkInputKind({ input, task }, index)
}

function checkInputKind({ input, task }: InputAndTask, index: number): void {
  const { problemType, inputs } = task.file
  if (input.textPair === undefined) {
    if (inputs !== 'pair') return
    throw new Problem(
      'text_pair_missing',
      `inputs[${index}]: task "${input.task}" was trained on pairs of texts; add text_pair`,
      { input: index },
    )
  }
  if (takesPairs(problemType) && inputs !== 'text') return
  const reason = takesPairs(problemType) ? 'was trained on single texts' : `is a ${problemType} and takes one text`
  throw new Problem('text_pair_not_taken', `inputs[${index}]: task "${input.task}" ${reason}; remove text_pair`, {
    input: index,
  })
}

/**
 * At least one task must be multi-label. The others ignore the threshold, as regressions ignore top_k.
 * @throws Problem `threshold_not_taken`
 */
export function checkThreshold(tasks: ReadonlyMap<string, TaskInUse>): void {
  const types = Array.from(tasks, ([id, { task }]) => ({ id, type: task.file.problemType }))
  if (types.some(({ type }) => typesWithThreshold.includes(type))) return
  throw new Problem(
    'threshold_not_taken',
    `threshold is only for ${typesWithThreshold.join(' and ')}; remove it: ` +
      types.map(({ id, type }) => `"${id}" is a ${type}`).join(', '),
  )
}

/** Characters to tokenise of an input, with the prefix of its task. */
export function charactersOf({ input, task }: InputAndTask, tokenizer: TextTokenizer): number {
  const most = tokenizer.maxCharactersOf(task.file)
  const { textPrefix = '' } = task.file
  const texts = input.textPair === undefined ? [input.text] : [input.text, input.textPair]
  return texts.reduce((sum, text) => sum + textPrefix.length + Math.min(text.length, most), 0)
}

const isBlank = (text: string): boolean => !/\S/.test(text)
