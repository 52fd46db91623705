// `propetl inspect`: describes a prototype or a task file, as text or as JSON.

import { join } from 'node:path'
import { inFile, readFileAs } from '../formats/file.js'
import { parseHeader } from '../formats/safetensors.js'
import { countOnes } from '../petl/bitset.js'
import { checkTaskFitsPrototype } from '../petl/combining.js'
import { petlModule } from '../petl/kinds.js'
import type { Prototype } from '../petl/prototype.js'
import { prototypeFormat, prototypeName, readPrototype } from '../petl/prototype-file.js'
import { plainModuleBits, prototypeBits, taskBits } from '../petl/storage.js'
import { readTaskFile, type TaskFile, taskFormat } from '../petl/task-file.js'
import { Problem } from '../problem.js'
import { settings } from '../settings.js'
import { describeTask, type TaskDescription } from '../tasks/description.js'

export interface InspectOptions {
  /** Path of the prototype of a task file. */
  readonly prototype?: string
  readonly json?: boolean
}

/** @returns the text to print @throws Problem that names the file */
export async function inspect(path: string, options: InspectOptions): Promise<string> {
  const bytes = await readFileAs(path, 'unreadable_file', (bytes) => bytes)
  const format = inFile(path, () => parseHeader(bytes)).metadata.get('format')
  if (format === prototypeFormat) {
    const description = describePrototype(inFile(path, () => readPrototype(bytes)))
    const facts = { file: path, bytes: bytes.byteLength, ...description }
    return options.json ? JSON.stringify(facts, null, 2) : lines(facts.file, facts.bytes, prototypeLines(description))
  }
  if (format === taskFormat) {
    const task = inFile(path, () => readTaskFile(bytes))
    const prototype = task.mask ? await readPrototypeOf(path, task, options) : undefined
    const { digest: version } = task
    const parts = task.mask ? { prototype: task.prototype } : { backbone: task.backbone }
    const description = { version, ...parts, ...describeTask(task, { ...(prototype && { prototype }) }) }
    const facts = { file: path, bytes: bytes.byteLength, ...description }
    return options.json
      ? JSON.stringify(facts, null, 2)
      : lines(facts.file, facts.bytes, taskLines(description, prototype))
  }
  throw new Problem(
    'unreadable_file',
    `${path}: metadata "format" is ${JSON.stringify(format)}; expected "${prototypeFormat}" or "${taskFormat}". ` +
      'The file is neither a prototype nor a task file.',
  )
}

async function readPrototypeOf(path: string, task: TaskFile, options: InspectOptions): Promise<Prototype> {
  const prototype = await readFileAs(
    options.prototype ?? join(settings.modelDir.value, prototypeName),
    'unreadable_file',
    readPrototype,
    'Name the prototype of the task with --prototype.',
  )
  inFile(path, () => checkTaskFitsPrototype(task, prototype))
  return prototype
}

function describePrototype(prototype: Prototype) {
  const { kind, ...config } = prototype.module
  const { maskable, unmasked } = petlModule(prototype.module, prototype.hiddenSize)
  const { weights, layerMasks } = prototypeBits(prototype)
  const mask = (layer: number) => prototype.layerMasks?.subarray(layer * prototype.maskBytes) ?? new Uint8Array()
  return {
    kind,
    config,
    version: prototype.digest,
    backbone: prototype.backbone,
    ...(prototype.learnedOn && { learned_on: prototype.learnedOn }),
    layers: prototype.layers,
    hidden_size: prototype.hiddenSize,
    maskable_weights: prototype.maskableWeights,
    tensors: [
      ...maskable.map((tensor) => ({ ...tensor, masked: true })),
      ...unmasked.map((tensor) => ({ ...tensor, masked: false })),
    ],
    layer_mask_density: prototype.layerMasks
      ? Array.from(
          { length: prototype.layers },
          (_, layer) => countOnes(mask(layer), prototype.maskableWeights) / prototype.maskableWeights,
        )
      : [],
    storage: {
      weight_bits: weights,
      layer_mask_bits: layerMasks,
      bits_per_added_task: taskBits(prototype, 1),
      plain_module_bits_per_task: plainModuleBits(prototype),
    },
  }
}

type Line = readonly [name: string, value: string]

function prototypeLines(facts: ReturnType<typeof describePrototype>): Line[] {
  const { storage } = facts
  return [
    ['kind', `${facts.kind} ${JSON.stringify(facts.config)}`],
    ['version', facts.version],
    ['backbone', facts.backbone],
    ...(facts.learned_on ? [['trained on', facts.learned_on.join(', ')] as const] : []),
    ['layers', `${facts.layers}, hidden size ${facts.hidden_size}`],
    ...facts.tensors.map(
      ({ name, shape, masked }): Line => [name, `[${shape.join(', ')}]${masked ? ', masked' : ', not masked'}`],
    ),
    ['maskable weights', `${count(facts.maskable_weights)}`],
    ['layer mask density', facts.layer_mask_density.length > 0 ? percents(facts.layer_mask_density) : 'no layer masks'],
    ['storage, shared', `weights ${bits(storage.weight_bits)}, layer masks ${bits(storage.layer_mask_bits)}`],
    ['storage, per task', addedTask(storage.bits_per_added_task, storage.plain_module_bits_per_task)],
  ]
}

const roundedThreshold = (threshold: number) => String(Number(threshold.toPrecision(3)))

function taskLines(
  facts: TaskDescription & { version: string; prototype?: string; backbone?: string },
  prototype: Prototype | undefined,
): Line[] {
  const { head, mask, storage } = facts
  return [
    ...(facts.description === undefined ? [] : [['description', facts.description] as const]),
    ['version', facts.version],
    ...(facts.prototype === undefined ? [] : [['prototype', facts.prototype] as const]),
    ...(facts.backbone === undefined ? [] : [['backbone', facts.backbone] as const]),
    ['problem type', facts.problem_type],
    ['labels', facts.labels.length > 0 ? facts.labels.join(', ') : 'none'],
    ...(facts.words === undefined ? [] : [['words', `by the ${facts.words}`] as const]),
    ...(facts.threshold === undefined ? [] : [['threshold', String(facts.threshold)] as const]),
    ...(facts.thresholds === undefined
      ? []
      : [['thresholds', facts.thresholds.map(roundedThreshold).join(', ')] as const]),
    ...(facts.range ? [['range', facts.range.join(' to ')] as const] : []),
    ...(facts.metrics ? [['metrics', JSON.stringify(facts.metrics)] as const] : []),
    ['pooling', facts.pooling],
    ['texts', describeTexts(facts)],
    ['head', head ? describeHead(head) : `none; vectors ${facts.normalize ? 'with L2 norm 1' : 'not normalised'}`],
    ...(facts.projection
      ? [
          [
            'projection',
            `${facts.projection.inputs} → ${facts.projection.outputs}, ${facts.projection.activation}`,
          ] as const,
        ]
      : []),
    ...(mask && storage && prototype
      ? [
          [
            'mask',
            `${mask.rows} × ${count(prototype.maskableWeights)} bits, density ${percents([mask.density])}`,
          ] as const,
          ['combine', facts.combine ?? ''] as const,
          ['effective density', percents(mask.effective_density)] as const,
          ...(mask.overlap_with_layer_masks.length > 0
            ? [['overlap with layers', percents(mask.overlap_with_layer_masks)] as const]
            : []),
          ['storage, mask', addedTask(storage.mask_bits, storage.plain_module_bits)] as const,
        ]
      : [['mask', 'none: the vectors are those of the bare backbone'] as const]),
  ]
}

function describeTexts({ inputs, max_length, text_prefix }: TaskDescription): string {
  const kind = { text: 'single texts', pair: 'pairs', any: 'single texts or pairs' }[inputs ?? 'any']
  const length = max_length === undefined ? "the model's maximum length" : `${max_length} tokens`
  const prefix = text_prefix === undefined ? '' : `, after the prefix ${JSON.stringify(text_prefix)}`
  return `${kind}, cut to ${length}${prefix}`
}

const describeHead = ({ inputs, dense, outputs, weights }: NonNullable<TaskDescription['head']>): string =>
  `${[inputs, dense, outputs].filter(Boolean).join(' → ')}, ${count(weights)} weights`

const lines = (path: string, bytes: number, facts: readonly Line[]): string =>
  [`${path}, ${count(bytes)} bytes`, ...facts.map(([name, value]) => `  ${name.padEnd(20)} ${value}`)].join('\n')

const count = (value: number) => value.toLocaleString('en-US')
const bits = (value: number) => `${count(value)} bits (${count(Math.ceil(value / 8))} bytes)`
const percents = (shares: readonly number[]) => shares.map((share) => `${(100 * share).toFixed(1)} %`).join('  ')
const addedTask = (added: number, plain: number) =>
  `${bits(added)}; a plain module takes ${bits(plain)}, so this is ${((100 * added) / plain).toFixed(2)} % of it`
