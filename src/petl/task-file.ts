// The task file (safetensors): reads it into a checked task, and writes it. task-tensors.ts does this for its tensors.
// combining.ts checks whether a task belongs to a model.

import { Type } from 'typebox'
import { digestInSteps } from '../formats/digest.js'
import { readStrings } from '../formats/json.js'
import { Metadata } from '../formats/metadata.js'
import {
  type HeaderLimits,
  headerInSteps,
  type SafetensorsHeader,
  serializeSafetensors,
} from '../formats/safetensors.js'
import { defaultWordRule, type WordRule, wordRuleLimits } from '../formats/word-rule.js'
import { quoted } from '../problem.js'
import { finish, type Steps } from '../steps.js'
import { throwInvalidTaskFile } from './invalid-task-file.js'
import { problemFiles, takesPairs } from './problem-files.js'
import {
  type BareFields,
  combinings,
  heldOutDigestBytes,
  inputKinds,
  type MaskFields,
  type ProblemFields,
  type ProblemType,
  poolings,
  problemTypes,
  type Task,
  type TextFields,
} from './task.js'
import { readMask, taskTensors, tensorNames } from './task-tensors.js'

export const taskFormat = 'propetl-task/1'

export type TaskFile = Task & {
  /** SHA-256 of the file, which is the version of the task. */
  readonly digest: string
}

/** Largest sizes of the parts of a task file. A header of 100,000 labels fits. */
export const taskFileLimits = {
  labels: 100_000,
  labelLength: 1_000,
  descriptionLength: 10_000,
  metricsLength: 65_536,
  textPrefixLength: 1_000,
  /** Of the digests of held-out examples, in Base64. */
  heldOutLength: 65_536,
  wordsLength: 65_536,
  header: { bytes: 4 * 1024 * 1024, values: 1_000 } satisfies HeaderLimits,
} as const

/** Bounds of the maximum length of texts, in tokens. A shorter one might have no room besides special tokens. */
const leastLength = 8
const mostLength = 1_000_000

const lengthNumber = Type.Integer({ minimum: leastLength, maximum: mostLength })
const rangePair = Type.Tuple([Type.Number(), Type.Number()])
const wordRuleObject = Type.Object(
  {
    leading: Type.Optional(Type.String({ maxLength: wordRuleLimits.characters })),
    trailing: Type.Optional(Type.String({ maxLength: wordRuleLimits.characters })),
    inner: Type.Optional(Type.Boolean()),
    clitics: Type.Optional(
      Type.Array(Type.String({ minLength: 2, maxLength: wordRuleLimits.cliticLength }), {
        maxItems: wordRuleLimits.clitics,
      }),
    ),
    whole: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: wordRuleLimits.wholeLength }), {
        maxItems: wordRuleLimits.whole,
      }),
    ),
  },
  { additionalProperties: false },
)
const metricsObject = Type.Record(Type.String(), Type.Unknown())

/**
 * Reads and checks a task file.
 * @param file must not change afterwards, because the mask and the head are views of its bytes
 * @param digest SHA-256 of the file, if the caller knows it
 * @throws Problem `not_safetensors` or `invalid_task_file`
 */
export function readTaskFile(file: Uint8Array, digest?: string): TaskFile {
  return finish(taskFileInSteps(file, digest))
}

/** {@link readTaskFile} in steps, so that a server can handle other requests while it reads a large file. */
export function* taskFileInSteps(file: Uint8Array, known?: string): Steps<TaskFile> {
  const digest = known ?? (yield* digestInSteps(file))
  const header = yield* headerInSteps(file, file.byteLength, taskFileLimits.header)
  const metadata = new Metadata(header.metadata, throwInvalidTaskFile)
  metadata.choice('format', [taskFormat])
  for (const name of header.tensors.keys())
    if (!tensorNames.has(name))
      throwInvalidTaskFile(
        `tensor ${quoted(name)} is not part of a task file; expected only ${[...tensorNames].join(', ')}`,
      )
  const fields = yield* readProblemFields(file, header, metadata)
  const description = header.metadata.get('description')
  const { descriptionLength, metricsLength, wordsLength } = taskFileLimits
  checkLength('description', description, descriptionLength)
  checkLength('metrics', header.metadata.get('metrics'), metricsLength)
  checkLength('words', header.metadata.get('words'), wordsLength)
  return {
    digest,
    ...(yield* readMaskFields(file, header, metadata)),
    ...fields,
    pooling: metadata.choice('pooling', poolings),
    ...readTextFields(metadata, fields.problemType),
    labels: yield* readLabels(metadata, fields),
    ...(description !== undefined && { description }),
    ...(header.metadata.has('metrics') && { metrics: metadata.json('metrics', metricsObject, 'a JSON object') }),
    ...(header.metadata.has('words') && { words: readWordRule(metadata) }),
    ...(header.metadata.has('range') && { range: readTargetRange(metadata) }),
    ...readHeldOut(header.metadata.get('held_out')),
  }
}

function checkLength(key: string, text: string | undefined, most: number): void {
  if (text !== undefined && text.length > most)
    throwInvalidTaskFile(`metadata "${key}" has ${text.length} characters; at most ${most} are allowed`)
}

/** Writes a task file: the mask as packed bits, the head as float32. {@link readTaskFile} reads back an equal task. */
export function serializeTaskFile(task: Task): Uint8Array {
  const { head } = task
  const projection = 'projection' in task ? task.projection : undefined
  const metadata = {
    format: taskFormat,
    ...(task.mask ? { prototype: task.prototype, combine: task.combine } : { backbone: task.backbone }),
    problem_type: task.problemType,
    pooling: task.pooling,
    ...(task.maxLength !== undefined && { max_length: String(task.maxLength) }),
    ...(task.textPrefix !== undefined && { text_prefix: task.textPrefix }),
    ...(task.inputs && { inputs: task.inputs }),
    ...(task.labels.length > 0 && { labels: JSON.stringify(task.labels) }),
    ...problemFiles[task.problemType].write(task),
    ...(task.description !== undefined && { description: task.description }),
    ...(task.metrics && { metrics: JSON.stringify(task.metrics) }),
    ...(task.words && { words: JSON.stringify(task.words) }),
    ...(task.range && { range: JSON.stringify(task.range) }),
    ...(task.heldOut && { held_out: Buffer.from(task.heldOut).toString('base64') }),
    ...(head?.dense && { head_activation: head.dense.activation }),
    ...(projection && { projection_activation: projection.activation }),
  }
  return serializeSafetensors(metadata, taskTensors(task))
}

function* readProblemFields(file: Uint8Array, header: SafetensorsHeader, metadata: Metadata): Steps<ProblemFields> {
  const problemType = metadata.choice('problem_type', problemTypes)
  for (const owner of problemTypes.filter((other) => other !== problemType))
    for (const key of problemFiles[owner].ownMetadata)
      if (metadata.fields.has(key))
        throwInvalidTaskFile(`metadata "${key}" is present, but only ${owner} has one; this task is ${problemType}`)
  const { layers, hasThresholds, readInSteps } = problemFiles[problemType]
  const other = layers === 'head' ? 'projection' : 'head'
  const misplaced = [...header.tensors.keys()].find((name) => name.startsWith(`${other}.`))
  if (misplaced !== undefined)
    throwInvalidTaskFile(`tensor ${quoted(misplaced)} is present, but ${problemType} has no ${other}`)
  if (header.tensors.has('thresholds') && !hasThresholds) {
    const owners = problemTypes.filter((type) => problemFiles[type].hasThresholds).join(' and ')
    throwInvalidTaskFile(
      `tensor "thresholds" is present, but only ${owners} have thresholds; this task is ${problemType}`,
    )
  }
  return yield* readInSteps(file, header, metadata)
}

function readTextFields(metadata: Metadata, problemType: ProblemType): TextFields {
  const { fields } = metadata
  const maxLength = fields.has('max_length')
    ? metadata.json('max_length', lengthNumber, `a whole number from ${leastLength} to ${mostLength}`)
    : undefined
  const textPrefix = fields.get('text_prefix')
  checkLength('text_prefix', textPrefix, taskFileLimits.textPrefixLength)
  const inputs = fields.has('inputs') ? metadata.choice('inputs', inputKinds) : undefined
  if (inputs === 'pair' && !takesPairs(problemType))
    throwInvalidTaskFile(`metadata "inputs" is "pair", but a ${problemType} takes single texts`)
  return {
    ...(maxLength !== undefined && { maxLength }),
    ...(textPrefix !== undefined && { textPrefix }),
    ...(inputs && { inputs }),
  }
}

function* readLabels(metadata: Metadata, { problemType, head }: ProblemFields): Steps<readonly string[]> {
  if (head === undefined || !problemFiles[problemType].hasLabels) {
    if (metadata.fields.has('labels'))
      throwInvalidTaskFile(`metadata "labels" is present, but ${problemType} has no labels`)
    return []
  }
  const { outputs } = head.output
  const text = metadata.text('labels')
  const { labels: most, labelLength } = taskFileLimits
  const seen = new Set<string>()
  const labels = yield* readStrings(text, (label, at) => {
    if (at >= most) throwInvalidTaskFile(`metadata "labels" has more than ${most} labels`)
    if (label.length === 0 || label.length > labelLength)
      throwInvalidTaskFile(
        `metadata "labels": label ${at} has ${label.length} characters; expected 1 to ${labelLength}`,
      )
    if (seen.has(label)) throwInvalidTaskFile(`metadata "labels" contains ${quoted(label)} twice`)
    seen.add(label)
  })
  if (labels === undefined)
    return throwInvalidTaskFile(`metadata "labels" is ${quoted(text)}; expected an array of label names`)
  if (labels.length !== outputs)
    throwInvalidTaskFile(`metadata "labels" has ${labels.length} labels, but head.weight has ${outputs} rows`)
  return labels
}

function readWordRule(metadata: Metadata): WordRule {
  const fields = metadata.json('words', wordRuleObject, 'the rule of words, as docs/file-formats.md describes it')
  return { ...defaultWordRule, ...fields }
}

function readTargetRange(metadata: Metadata): [number, number] {
  const range = metadata.json('range', rangePair, 'two numbers, the smaller one first')
  return range[0] < range[1]
    ? range
    : throwInvalidTaskFile('metadata "range": the first number must be less than the second')
}

function readHeldOut(text: string | undefined): Pick<Task, 'heldOut'> {
  if (text === undefined) return {}
  checkLength('held_out', text, taskFileLimits.heldOutLength)
  const digests = Uint8Array.from(Buffer.from(text, 'base64'))
  if (Buffer.from(digests).toString('base64') !== text || digests.byteLength % heldOutDigestBytes !== 0)
    throwInvalidTaskFile(
      `metadata "held_out" is ${quoted(text)}; expected digests of ${heldOutDigestBytes} bytes each in Base64`,
    )
  return { heldOut: digests }
}

function* readMaskFields(
  file: Uint8Array,
  header: SafetensorsHeader,
  metadata: Metadata,
): Steps<MaskFields | BareFields> {
  if (header.tensors.has('mask')) {
    if (metadata.fields.has('backbone'))
      throwInvalidTaskFile('metadata "backbone" is present, but only a task without a mask has one; remove it')
    const combine = metadata.choice('combine', combinings)
    return { prototype: metadata.digest('prototype'), combine, mask: yield* readMask(file, header) }
  }
  if (!metadata.fields.has('backbone'))
    throwInvalidTaskFile(
      'tensor "mask" is missing; add it, or metadata "backbone" with the SHA-256 of the backbone\'s weights for a task ' +
        'without a mask',
    )
  for (const key of ['prototype', 'combine'])
    if (metadata.fields.has(key))
      throwInvalidTaskFile(`metadata "${key}" is present, but a task without a mask has none; remove it`)
  return { backbone: metadata.digest('backbone') }
}
