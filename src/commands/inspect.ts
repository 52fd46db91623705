// `propetl inspect`: describes a prototype or a task file, as text or as JSON.

import { join } from 'node:path'
import { settings } from '../config.js'
import { inFile, readFileAs } from '../formats/file.js'
import { parseHeader } from '../formats/safetensors.js'
import { countOnes } from '../petl/bitset.js'
import { checkTaskFitsPrototype } from '../petl/combining.js'
import { petlModule } from '../petl/kinds.js'
import type { Prototype } from '../petl/prototype.js'
import { prototypeFormat, readPrototype } from '../petl/prototype-file.js'
import { plainModuleBits, prototypeBits, taskBits } from '../petl/storage.js'
import { readTaskFile, taskFormat } from '../petl/task-file.js'
import { Problem } from '../problem.js'
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
    const found = describePrototype(inFile(path, () => readPrototype(bytes)))
    const facts = { file: path, bytes: bytes.byteLength, ...found }
    return options.json ? JSON.stringify(facts, null, 2) : lines(facts.file, facts.bytes, prototypeLines(found))
  }
  if (format === taskFormat) {
    const prototypePath = options.prototype ?? join(settings.modelDir.value, 'prototype.safetensors')
    const prototype = await readFileAs(
      prototypePath,
      'unreadable_file',
      readPrototype,
      'Name the prototype of the task with --prototype.',
    )
    const task = inFile(path, () => readTaskFile(bytes))
    inFile(path, () => checkTaskFitsPrototype(task, prototype))
    const found = { version: task.digest, prototype: task.prototype, ...describeTask(task, prototype) }
    const facts = { file: path, bytes: bytes.byteLength, ...found }
    return options.json ? JSON.stringify(facts, null, 2) : lines(facts.file, facts.bytes, taskLines(found, prototype))
  }
  throw new Problem(
    'unreadable_file',
    `${path}: metadata "format" is ${JSON.stringify(format)}; expected "${prototypeFormat}" or "${taskFormat}". ` +
      'The file is neither a prototype nor a task file.',
  )
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

function prototypeLines(found: ReturnType<typeof describePrototype>): Line[] {
  const { storage } = found
  return [
    ['kind', `${found.kind} ${JSON.stringify(found.config)}`],
    ['version', found.version],
    ['backbone', found.backbone],
    ...(found.learned_on ? [['trained on', found.learned_on.join(', ')] as const] : []),
    ['layers', `${found.layers}, hidden size ${found.hidden_size}`],
    ...found.tensors.map(
      ({ name, shape, masked }): Line => [name, `[${shape.join(', ')}]${masked ? ', masked' : ', not masked'}`],
    ),
    ['maskable weights', `${count(found.maskable_weights)}`],
    ['layer mask density', found.layer_mask_density.length > 0 ? percents(found.layer_mask_density) : 'no layer masks'],
    ['storage, shared', `weights ${bits(storage.weight_bits)}, layer masks ${bits(storage.layer_mask_bits)}`],
    ['storage, per task', addedTask(storage.bits_per_added_task, storage.plain_module_bits_per_task)],
  ]
}

function taskLines(found: TaskDescription & { version: string; prototype: string }, prototype: Prototype): Line[] {
  const { head, mask, storage } = found
  return [
    ...(found.description === undefined ? [] : [['description', found.description] as const]),
    ['version', found.version],
    ['prototype', found.prototype],
    ['problem type', found.problem_type],
    ['labels', found.labels.length > 0 ? found.labels.join(', ') : 'none'],
    ...(found.threshold === undefined ? [] : [['threshold', String(found.threshold)] as const]),
    ...(found.range ? [['range', found.range.join(' to ')] as const] : []),
    ...(found.metrics ? [['metrics', JSON.stringify(found.metrics)] as const] : []),
    ['pooling', found.pooling],
    ['head', head ? describeHead(head) : `none; vectors ${found.normalize ? 'with L2 norm 1' : 'not normalised'}`],
    ['mask', `${mask.rows} × ${count(prototype.maskableWeights)} bits, density ${percents([mask.density])}`],
    ['combine', found.combine],
    ['effective density', percents(mask.effective_density)],
    ...(mask.overlap_with_layer_masks.length > 0
      ? [['overlap with layers', percents(mask.overlap_with_layer_masks)] as const]
      : []),
    ['storage, mask', addedTask(storage.mask_bits, storage.plain_module_bits)],
  ]
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
