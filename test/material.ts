// Common inputs of tests: the bundled backbone, and the prototype, six task files, token ids and logits of an
// independent implementation (test/fixtures/reference, made with PyTorch).

import { readFileSync, rmSync } from 'node:fs'
import { constants, copyFile, mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Text } from '../src/backbones/tokenizer.js'
import type { EngineRow } from '../src/engine/engine.js'
import { parseHeader, serializeSafetensors, type TensorData, tensorBytes } from '../src/formats/safetensors.js'
import { effectiveBitset } from '../src/petl/combining.js'
import type { Prototype } from '../src/petl/prototype.js'
import { readPrototype } from '../src/petl/prototype-file.js'
import type { Head, TaskMask } from '../src/petl/task.js'
import { readTaskFile, type TaskFile } from '../src/petl/task-file.js'
import type { Provider } from '../src/runtime/providers.js'
import { settings } from '../src/settings.js'

export const root = fileURLToPath(new URL('../../', import.meta.url))
const reference = join(root, 'test/fixtures/reference')
export const masksDir = join(reference, 'tasks')
export const modelDir = settings.modelDir.value
export const prototypeFile = join(reference, 'prototype.safetensors')

/** The execution provider of engine tests: cpu, unless PROPETL_TEST_PROVIDER names another one. */
export const testProvider = (process.env.PROPETL_TEST_PROVIDER ?? 'cpu') as Provider

export const loadPrototype = (): Prototype => readPrototype(readFileSync(prototypeFile))
export const taskBytes = (task: string): Buffer => readFileSync(join(masksDir, `${task}.safetensors`))

export interface GoldenRow {
  readonly text: string
  readonly text_pair?: string
  readonly input_ids: readonly number[]
  readonly logits: readonly number[]
}

export const golden = JSON.parse(readFileSync(join(reference, 'golden.json'), 'utf8')) as Readonly<
  Record<string, readonly GoldenRow[]>
>

export const textOf = ({ text, text_pair }: GoldenRow): Text => ({
  text,
  ...(text_pair !== undefined && { textPair: text_pair }),
})

/** A golden row in the form that the engine takes. */
export function engineRow(row: GoldenRow, task: TaskFile, prototype: Prototype): EngineRow {
  const bitset = effectiveBitset(task, prototype)
  return {
    inputIds: row.input_ids,
    tokenTypeIds: typeIds(row.input_ids),
    pooling: task.pooling,
    maskKey: task.digest,
    bitset: () => bitset,
    withHidden: false,
  }
}

/** 0 up to the first [SEP], inclusive, and 1 after it. */
function typeIds(ids: readonly number[]): number[] {
  const first = ids.indexOf(102)
  return ids.map((_, index) => (index <= first ? 0 : 1))
}

/** @throws Error for a task without a head */
export const headOf = ({ head }: TaskFile): Head => {
  if (head === undefined) throw new Error('the task has no head')
  return head
}

/** @throws Error for a task without a mask */
export const maskOf = ({ mask }: TaskFile): TaskMask => {
  if (mask === undefined) throw new Error('the task has no mask')
  return mask
}

/** Changes that take the mask from a task file: what remains is a head on the bare backbone. */
export const withoutMask = {
  metadata: { prototype: undefined, combine: undefined, backbone: loadPrototype().backbone },
  tensors: { mask: undefined },
} as const

export interface TaskParts {
  readonly metadata: Readonly<Record<string, string | undefined>>
  readonly tensors: Readonly<Record<string, TensorData | undefined>>
}

/** A task file like `base` with some metadata and tensors changed. Undefined removes an entry. */
export function changedTask(base: Uint8Array, changes: Partial<TaskParts>): Uint8Array {
  const header = parseHeader(base)
  const metadata = Object.fromEntries(header.metadata) as Record<string, string | undefined>
  const tensors: Record<string, TensorData | undefined> = {}
  for (const [name, info] of header.tensors)
    tensors[name] = { dtype: info.dtype, shape: info.shape, data: Uint8Array.from(tensorBytes(base, info)) }
  const given = <T>(record: Record<string, T | undefined>) =>
    Object.fromEntries(Object.entries(record).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])))
  return serializeSafetensors(
    given({ ...metadata, ...changes.metadata }),
    given({ ...tensors, ...changes.tensors }) as Record<string, TensorData>,
  )
}

export const floats = (shape: readonly number[], values: ArrayLike<number>): TensorData => ({
  dtype: 'F32',
  shape,
  data: new Uint8Array(Float32Array.from(values).buffer),
})

/** A task file whose logits are those of `base` plus `shift`, so that a prediction shows which version made it. */
export function shiftedTask(base: Uint8Array, shift: number): Uint8Array {
  const { bias } = headOf(readTaskFile(base)).output
  return changedTask(base, {
    tensors: {
      'head.bias': floats(
        [bias.length],
        bias.map((value) => value + shift),
      ),
    },
  })
}

const directories: string[] = []
process.once('exit', () => {
  for (const directory of directories) rmSync(directory, { recursive: true, force: true })
})

/** A directory that is removed when the process exits. */
export async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'propetl-test-'))
  directories.push(directory)
  return directory
}

let referenceModel: Promise<string> | undefined

/** A model directory with the bundled backbone and the reference's prototype. */
export function referenceModelDir(): Promise<string> {
  referenceModel ??= (async () => {
    const directory = await temporaryDirectory()
    const backbone = ['config.json', 'tokenizer.json', 'model.safetensors'].map((name) => join(modelDir, name))
    for (const file of [...backbone, prototypeFile])
      await copyFile(file, join(directory, basename(file)), constants.COPYFILE_FICLONE)
    return directory
  })()
  return referenceModel
}

/** The largest absolute difference of two vectors of the same length. */
export function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY
  return Array.from(a, (value, i) => Math.abs(value - (b[i] ?? Number.NaN))).reduce((x, y) => Math.max(x, y), 0)
}
