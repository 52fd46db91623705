// Input of the benchmarks: the bundled model and its tasks, texts of their development sets, and random masks.

import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Backbone, readBackbone } from '../../src/backbones/backbone.js'
import { type Text, TextTokenizer } from '../../src/backbones/tokenizer.js'
import { Engine, type EngineRow } from '../../src/engine/engine.js'
import { digestOf } from '../../src/formats/digest.js'
import { readFileAs } from '../../src/formats/file.js'
import { parseHeader, serializeSafetensors, type TensorData, tensorBytes } from '../../src/formats/safetensors.js'
import { effectiveBitset } from '../../src/petl/combining.js'
import { type ModuleConfig, petlModule } from '../../src/petl/kinds.js'
import { elementCount, moduleTensors } from '../../src/petl/module.js'
import type { Prototype } from '../../src/petl/prototype.js'
import { readPrototype, serializePrototype } from '../../src/petl/prototype-file.js'
import { readTaskFile } from '../../src/petl/task-file.js'
import type { Numerics } from '../../src/runtime/numerics.js'
import type { Provider } from '../../src/runtime/providers.js'
import { settings } from '../../src/settings.js'

export const modelDir = settings.modelDir.value
export const masksDir = settings.masksDir.value
const textsDir = fileURLToPath(new URL('../../../bench/texts/', import.meta.url))

export interface TaskText extends Text {
  readonly task: string
}

/** Texts of all bundled tasks, interleaved: the first text of each task, then the second of each, and so on. */
export function mixedTexts(): TaskText[] {
  const lists = readdirSync(textsDir).map((name) =>
    readFileSync(join(textsDir, name), 'utf8')
      .trim()
      .split('\n')
      .map((line): TaskText => {
        const { text, text_pair } = JSON.parse(line) as { text: string; text_pair?: string }
        return { task: name.replace('.jsonl', ''), text, ...(text_pair !== undefined && { textPair: text_pair }) }
      }),
  )
  const longest = Math.max(...lists.map((list) => list.length))
  return Array.from({ length: longest }, (_, i) => lists.flatMap((list) => list[i] ?? [])).flat()
}

export interface Model {
  readonly backbone: Backbone
  readonly prototype: Prototype
  readonly tokenizer: TextTokenizer
}

export async function loadModel(): Promise<Model> {
  const backbone = await readBackbone(modelDir)
  return {
    backbone,
    prototype: await readFileAs(join(modelDir, 'prototype.safetensors'), 'invalid_prototype', readPrototype),
    tokenizer: new TextTokenizer(join(modelDir, 'tokenizer.json'), backbone.dims.maxTokens),
  }
}

/** A prototype with random weights. */
export function randomPrototype(backbone: Backbone, module: ModuleConfig): Prototype {
  const { hiddenSize, layers } = backbone.dims
  const random = byteSequence(3)
  const values = (shape: readonly number[]) =>
    Float32Array.from({ length: elementCount(shape) }, () => (random() - 127.5) / 1_000)
  const tensors = new Map(moduleTensors(petlModule(module, hiddenSize)).map(({ name, shape }) => [name, values(shape)]))
  return readPrototype(serializePrototype({ backbone: backbone.digest, module, layers, hiddenSize, tensors }))
}

/** Starts an engine with the prototype, or without any module if `bare`. The default is float32 on the CPU. */
export const startEngine = (
  { backbone, prototype }: Pick<Model, 'backbone' | 'prototype'>,
  options: {
    readonly bare?: boolean
    readonly provider?: Provider
    readonly numerics?: Numerics
    readonly computePadding?: boolean
    readonly slots?: number
  } = {},
): Promise<Engine> =>
  Engine.start({
    backbone,
    prototype: options.bare ? undefined : prototype,
    provider: options.provider ?? 'cpu',
    numerics: options.numerics ?? 'float32',
    slots: options.slots ?? 64,
    threads: 0,
    computePadding: options.computePadding ?? false,
  })

/** Milliseconds that an engine needs to run the batches one after another. */
export async function timeBatches(engine: Engine, batches: readonly (readonly EngineRow[])[]): Promise<number> {
  const start = performance.now()
  for (const batch of batches) await engine.run(batch)
  return performance.now() - start
}

const taskFile = '.safetensors'

/** The ids of the bundled tasks. */
export const bundledTasks: readonly string[] = readdirSync(masksDir)
  .filter((name) => name.endsWith(taskFile))
  .map((name) => name.slice(0, -taskFile.length))
  .sort()

export const taskFileBytes = (task: string): Buffer => readFileSync(join(masksDir, `${task}${taskFile}`))

/** The same task with `shift` added to its logits, so that its predictions identify this version. */
export function withShiftedBias(file: Uint8Array, shift: number): Uint8Array<ArrayBuffer> {
  const { metadata, tensors } = parseHeader(file)
  const parts: Record<string, TensorData> = {}
  for (const [name, info] of tensors) {
    const data = Uint8Array.from(tensorBytes(file, info))
    if (name === 'head.bias') {
      const bias = new Float32Array(data.buffer)
      bias.forEach((value, index) => {
        bias[index] = value + shift
      })
    }
    parts[name] = { dtype: info.dtype, shape: info.shape, data }
  }
  return Uint8Array.from(serializeSafetensors(Object.fromEntries(metadata), parts))
}

/** Tokenises texts to rows, each with the mask of its bundled task. */
export async function rowsOf({ prototype, tokenizer }: Model, texts: readonly TaskText[]): Promise<EngineRow[]> {
  const tasks = new Map(
    [...new Set(texts.map(({ task }) => task))].map((task) => {
      const file = readTaskFile(taskFileBytes(task))
      return [task, { file, bitset: effectiveBitset(file, prototype) }]
    }),
  )
  return Promise.all(
    texts.map(async (text): Promise<EngineRow> => {
      const { inputIds, tokenTypeIds } = await tokenizer.encode(text)
      const task = tasks.get(text.task)
      if (task === undefined) throw new Error(`there is no bundled task ${text.task}`)
      const { file, bitset } = task
      const { pooling, digest } = file
      return { inputIds, tokenTypeIds, pooling, maskKey: digest, bitset: () => bitset, withHidden: false }
    }),
  )
}

/** `count` rows of `length` random tokens. Row i belongs to task i mod `tasks`; each task has a random mask. */
export function randomRows(
  { backbone, prototype }: Pick<Model, 'backbone' | 'prototype'>,
  count: number,
  length: number,
  tasks = count,
): EngineRow[] {
  const random = byteSequence(1)
  const masks = Array.from({ length: tasks }, () => {
    const bitset = Uint8Array.from({ length: prototype.layers * prototype.maskBytes }, random)
    return { maskKey: digestOf(bitset), bitset: () => bitset }
  })
  return Array.from({ length: count }, (_, row): EngineRow => {
    const inputIds = Array.from({ length }, () => (random() * 256 + random()) % backbone.dims.vocabulary)
    const mask = masks[row % tasks]
    if (mask === undefined) throw new Error('random rows need at least one task')
    return {
      inputIds,
      tokenTypeIds: new Array<number>(length).fill(0),
      pooling: 'mean',
      ...mask,
      withHidden: false,
    }
  })
}

/** A reproducible sequence of bytes (multiplicative congruential generator, Park and Miller 1988). */
export function byteSequence(seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 48_271) % 2_147_483_647
    return state % 256
  }
}

/** Calls `use` with a new directory, and removes the directory afterwards, also when the process exits early. */
export async function withTemporaryDirectory<T>(use: (directory: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'propetl-bench-'))
  const removeAtExit = () => {
    try {
      rmSync(directory, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 })
    } catch {
      // A process that is being killed may still write. The directory is a temporary one.
    }
  }
  process.once('exit', removeAtExit)
  try {
    return await use(directory)
  } finally {
    process.off('exit', removeAtExit)
    await rm(directory, { recursive: true, force: true })
  }
}
