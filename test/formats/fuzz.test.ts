// Fuzz test of the file readers. Thousands of mutated files must either be rejected with a Problem or be read into a value
// that meets all guarantees. PROPETL_TEST_FUZZ is the number of files (100,000 take about 20 s), PROPETL_TEST_FUZZ_SEED
// the seed of the first one; the next file has the next seed. A failure names the seed that reproduces it.

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { getHeapStatistics } from 'node:v8'
import { parseHeader, serializeSafetensors, type TensorData, tensorBytes } from '../../src/formats/safetensors.js'
import { Random } from '../../src/learn/random.js'
import type { Prototype } from '../../src/petl/prototype.js'
import { readPrototype, serializePrototype } from '../../src/petl/prototype-file.js'
import type { Linear } from '../../src/petl/task.js'
import { readTaskFile, serializeTaskFile, type TaskFile } from '../../src/petl/task-file.js'
import { Problem } from '../../src/problem.js'
import { settings } from '../../src/settings.js'
import { changedTask, floats, taskBytes } from '../material.js'
import { type Container, containerOf, mutated } from './mutation.js'

const inputs = Number(process.env.PROPETL_TEST_FUZZ ?? 2_000)
const firstSeed = Number(process.env.PROPETL_TEST_FUZZ_SEED ?? 1)
const longestMessage = 1_000

const bytes = (dtype: string, shape: readonly number[], fill: number) =>
  ({ dtype, shape, data: new Uint8Array(shape.reduce((a, b) => a * b, 1)).fill(fill) }) as TensorData
const values = (...shape: number[]) => {
  const count = shape.reduce((a, b) => a * b, 1)
  return floats(
    shape,
    Float32Array.from({ length: count }, (_, i) => Math.sin(i)),
  )
}

const common = { format: 'propetl-task/1', prototype: 'a'.repeat(64), combine: 'or', pooling: 'mean' }
const mask = bytes('U8', [1, 3], 0x5a)
const head = { 'head.weight': values(2, 4), 'head.bias': values(2) }
const dense = { 'head.dense.weight': values(4, 3), 'head.dense.bias': values(4) }
const half = (...shape: number[]) => ({ ...bytes('F16', [...shape, 2], 0x3c), shape })
const labels = JSON.stringify(['nö', '"yes"'])
const prototype = (kind: string, config: object, more: object = {}) => ({
  ...{ format: 'propetl-prototype/1', kind, config: JSON.stringify(config), layers: '2', hidden_size: '4' },
  ...{ backbone: 'b'.repeat(64), ...more },
})
const lora = { 'query.A': values(2, 4), 'query.B': values(4, 2), 'value.A': values(2, 4), 'value.B': values(4, 2) }
const adapter = { 'down.weight': values(3, 4), 'up.weight': values(4, 3), 'down.bias': values(3), 'up.bias': values(4) }

const small: readonly Uint8Array[] = [
  taskBytes('mrpc'),
  changedTask(taskBytes('sst2'), { tensors: { mask: bytes('BOOL', [1, 24_576], 1) } }),
  serializeSafetensors(
    {
      ...common,
      problem_type: 'single_label_classification',
      labels,
      description: 'two\nlines',
      metrics: '{"dev":{"f1":0.5}}',
    },
    { mask: bytes('BOOL', [2, 11], 1), ...head, ...dense },
  ),
  serializeSafetensors(
    { ...common, problem_type: 'multi_label_classification', labels, threshold: '0.3', head_activation: 'relu' },
    { mask, ...head, ...dense },
  ),
  serializeSafetensors(
    { ...common, problem_type: 'token_classification', labels },
    { mask, 'head.weight': half(2, 4), 'head.bias': half(2) },
  ),
  serializeSafetensors(
    { ...common, problem_type: 'regression', range: '[-1,2.5]' },
    { mask, 'head.weight': values(1, 4), 'head.bias': values(1) },
  ),
  serializeSafetensors({ ...common, problem_type: 'feature_extraction', normalize: 'false' }, { mask }),
  serializeSafetensors(
    prototype('adapter', { bottleneck: 3, activation: 'relu', scaling: 0.5 }, { learned_on: '["sst2"]' }),
    { ...adapter, layer_masks: bytes('U8', [2, 3], 0x5a) },
  ),
  serializeSafetensors(prototype('lora', { rank: 2, alpha: 3 }), lora),
  serializeSafetensors(prototype('prefix', { length: 5 }), { base: values(5, 8) }),
]
const bundled = readdirSync(settings.masksDir.value)
  .filter((name) => name.endsWith('.safetensors'))
  .map((name) => readFileSync(join(settings.masksDir.value, name)))

const readers = {
  /** The container: writing it again gives an equal one. */
  safetensors(file: Uint8Array) {
    const header = parseHeader(file)
    const parts = [...header.tensors].map(([name, info]): [string, TensorData] => [
      name,
      { dtype: info.dtype, shape: info.shape, data: tensorBytes(file, info) },
    ])
    return () => {
      const data = Object.values(Object.fromEntries(parts)).reduce((sum, { data }) => sum + data.byteLength, 0)
      assert.equal(data, file.byteLength - 8 - Number(Buffer.from(file).readBigUInt64LE()))
      const written = serializeSafetensors(Object.fromEntries(header.metadata), Object.fromEntries(parts))
      const again = parseHeader(written)
      assert.deepEqual(again.metadata, header.metadata)
      assert.deepEqual(new Set(again.tensors.keys()), new Set(header.tensors.keys()))
      for (const [name, { dtype, shape, data }] of parts) {
        const info = again.tensors.get(name)
        assert.ok(info)
        assert.deepEqual([info.dtype, info.shape], [dtype, shape])
        assert.ok(Buffer.from(data).equals(tensorBytes(written, info)))
      }
    }
  },

  task: readAndWritten((file) => readTaskFile(file), serializeTaskFile, checkTask, comparableTask),

  prototype: readAndWritten(readPrototype, serializePrototype, checkPrototype, comparablePrototype),
}

/** A reader whose writer must produce an equal file. */
function readAndWritten<T>(
  read: (file: Uint8Array) => T,
  write: (value: T) => Uint8Array,
  check: (value: T, file?: Uint8Array) => void,
  comparable: (value: T) => unknown,
) {
  return (file: Uint8Array) => {
    const value = read(file)
    return () => {
      check(value, file)
      const again = read(write(value))
      check(again)
      assert.deepEqual(comparable(again), comparable(value))
    }
  }
}

const sha256 = (file: Uint8Array) => createHash('sha256').update(file).digest('hex')
const isDigest = (text: string) => /^[0-9a-f]{64}$/.test(text)
const areFinite = (numbers: Float32Array) => numbers.every((value) => Number.isFinite(value))

function checkLinear({ inputs, outputs, weight, bias }: Linear): void {
  assert.ok(inputs > 0 && outputs > 0)
  assert.deepEqual([weight.length, bias.length], [inputs * outputs, outputs])
  assert.ok(areFinite(weight) && areFinite(bias))
}

function checkTask(task: TaskFile, file?: Uint8Array): void {
  if (file) assert.equal(task.digest, sha256(file))
  assert.ok(['mean', 'cls', 'max', 'last'].includes(task.pooling))
  if (task.mask) {
    assert.ok(isDigest(task.prototype))
    assert.ok(['or', 'and', 'add', 'none'].includes(task.combine))
    const { layers, weights, exact, bits } = task.mask
    assert.ok(layers > 0 && weights > 0 && (exact || weights % 8 === 0))
    assert.equal(bits.byteLength, layers * Math.ceil(weights / 8))
  } else assert.ok(isDigest(task.backbone))
  if (task.head) {
    checkLinear(task.head.output)
    if (task.head.dense) {
      checkLinear(task.head.dense)
      assert.equal(task.head.dense.outputs, task.head.output.inputs)
      assert.ok(['tanh', 'relu', 'none'].includes(task.head.dense.activation))
    }
  }
  switch (task.problemType) {
    case 'regression':
      assert.ok(Number.isFinite(task.offset))
      assert.equal(task.head.output.outputs, 1)
      assert.equal(task.labels.length, 0)
      break
    case 'feature_extraction':
      assert.equal(typeof task.normalize, 'boolean')
      assert.deepEqual([task.head, task.labels.length], [undefined, 0])
      break
    case 'multi_label_classification':
      if (typeof task.thresholds === 'number') assert.ok(task.thresholds > 0 && task.thresholds < 1)
      else checkThresholds(task.thresholds, task.labels)
      checkLabels(task.labels, task.head.output.outputs)
      break
    case 'single_label_classification':
      if (task.thresholds) checkThresholds(task.thresholds, task.labels)
      checkLabels(task.labels, task.head.output.outputs)
      break
    case 'token_classification':
      checkLabels(task.labels, task.head.output.outputs)
      break
    default:
      assert.fail('unknown problem type')
  }
  if (task.range) {
    const [low, high] = task.range
    assert.ok(Number.isFinite(low) && Number.isFinite(high) && low < high)
  }
  // Responses contain the metrics as JSON.
  if (task.metrics) assert.equal(JSON.stringify(JSON.parse(JSON.stringify(task.metrics))), JSON.stringify(task.metrics))
}

function checkThresholds(thresholds: Float32Array, labels: readonly string[]): void {
  assert.equal(thresholds.length, labels.length)
  assert.ok(thresholds.every((threshold) => threshold > 0 && threshold < 1))
}

function checkLabels(labels: readonly string[], outputs: number): void {
  assert.deepEqual([labels.length, new Set(labels).size], [outputs, outputs])
  for (const label of labels) assert.ok(typeof label === 'string' && label.length > 0 && label.length <= 1_000)
}

/** The parts of a task that do not depend on how its file was written: the mask as bits, and no −0. */
function comparableTask({ digest: _, mask, head, ...rest }: TaskFile) {
  return { layers: mask?.layers, bits: mask && Buffer.from(mask.bits), head, rest: withoutNegativeZero(rest) }
}

function comparablePrototype({ digest: _, module, ...rest }: Prototype) {
  return {
    ...rest,
    module: withoutNegativeZero(module),
  }
}

/** JSON.stringify writes −0 as 0. */
const withoutNegativeZero = (value: unknown): unknown =>
  typeof value === 'number'
    ? value + 0
    : Array.isArray(value)
      ? value.map(withoutNegativeZero)
      : typeof value === 'object' && value !== null
        ? Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, withoutNegativeZero(inner)]))
        : value

function checkPrototype(prototype: Prototype, file?: Uint8Array): void {
  if (file) assert.equal(prototype.digest, sha256(file))
  assert.ok(isDigest(prototype.backbone))
  const { module, layers, hiddenSize: H, tensors, layerMasks } = prototype
  assert.ok(Number.isInteger(layers) && layers > 0 && Number.isInteger(H) && H > 0)
  const sizes: Record<string, number> =
    module.kind === 'adapter'
      ? {
          ...{ 'down.weight': module.bottleneck * H, 'up.weight': H * module.bottleneck },
          ...{ 'down.bias': module.bottleneck, 'up.bias': H },
        }
      : module.kind === 'lora'
        ? Object.fromEntries(['query.A', 'query.B', 'value.A', 'value.B'].map((name) => [name, module.rank * H]))
        : { base: module.length * 2 * H }
  assert.deepEqual(new Set(tensors.keys()), new Set(Object.keys(sizes)))
  for (const [name, floats] of tensors) assert.ok(floats.length === sizes[name] && areFinite(floats), name)
  const n = Object.entries(sizes).reduce((sum, [name, size]) => sum + (name.endsWith('.bias') ? 0 : size), 0)
  assert.deepEqual([prototype.maskableWeights, prototype.maskBytes], [n, Math.ceil(n / 8)])
  if (layerMasks) assert.equal(layerMasks.byteLength, layers * prototype.maskBytes)
}

/** Bytes of the heap and of external buffers. A garbage collection makes the next figure smaller. */
function usedBytes(): number {
  const { used_heap_size, external_memory } = getHeapStatistics()
  return used_heap_size + external_memory
}

/** @returns the readers that accepted a file, and the most bytes that one of them allocated without collection */
function readWithAll(file: Uint8Array): { readonly read: readonly string[]; readonly grown: number } {
  const read: string[] = []
  let grown = 0
  for (const [name, reader] of Object.entries(readers)) {
    const before = usedBytes()
    let check: () => void
    try {
      check = reader(file)
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      assert.ok(
        error.message.length <= longestMessage,
        `a message of ${error.message.length} characters: ${error.message.slice(0, 200)}`,
      )
      continue
    } finally {
      grown = Math.max(grown, usedBytes() - before)
    }
    check()
    read.push(name)
  }
  return { read, grown }
}

/** Allowed memory for a file: its decoded text, the parsed JSON, and copies of its tensors as float32. */
const growthOf = (fileBytes: number) => 1_000_000 + 64 * fileBytes

test(`each of ${inputs} mutated files is read into a valid value or rejected with a Problem`, (t) => {
  const containers = [small, bundled].map((files) => files.map(containerOf))
  const found: Record<string, number> = {}
  let [slowestMs, mostGrown] = [0, 0]
  // Most files end in an error, and stack traces would take half of the time. A single file keeps its stack trace.
  if (inputs > 1) Error.stackTraceLimit = 0
  for (let seed = firstSeed; seed < firstSeed + inputs; seed++) {
    const random = new Random(seed, 'fuzz')
    const [few = [], large = []] = containers
    const from = random.below(200) === 0 ? large : few
    const file = mutated(from[random.below(from.length)] as Container, random)
    const before = performance.now()
    try {
      const { read, grown } = readWithAll(file)
      for (const name of read) found[name] = (found[name] ?? 0) + 1
      mostGrown = Math.max(mostGrown, grown)
      assert.ok(grown <= growthOf(file.byteLength), `reading ${file.byteLength} bytes allocated ${grown} bytes`)
    } catch (error) {
      throw new Error(`PROPETL_TEST_FUZZ=1 PROPETL_TEST_FUZZ_SEED=${seed}: ${error}`, { cause: error })
    }
    slowestMs = Math.max(slowestMs, performance.now() - before)
  }
  // Each reader must accept some files. Otherwise the mutations are so coarse that only the first check is tested.
  if (inputs >= 1_000) for (const name of Object.keys(readers)) assert.ok((found[name] ?? 0) > inputs / 50, name)
  t.diagnostic(
    `read: ${JSON.stringify(found)}; the slowest file took ${Math.round(slowestMs)} ms, the largest allocation was ${mostGrown} bytes`,
  )
})
