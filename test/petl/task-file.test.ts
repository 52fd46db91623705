// The task file: the errors for invalid files, and the defaults of its fields.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { defaultWordRule } from '../../src/formats/word-rule.js'
import { checkTaskFits, checkTaskFitsPrototype } from '../../src/petl/combining.js'
import { readTaskFile, serializeTaskFile, type TaskFile } from '../../src/petl/task-file.js'
import type { Problem } from '../../src/problem.js'
import {
  changedTask,
  floats,
  headOf,
  loadPrototype,
  maskOf,
  type TaskParts,
  taskBytes,
  withoutMask,
} from '../material.js'

const prototype = loadPrototype()
const sst2 = taskBytes('sst2')
const read = (changes: Partial<TaskParts>) => {
  const task = readTaskFile(changedTask(sst2, changes))
  checkTaskFitsPrototype(task, prototype)
  return task
}
const H = 384
const bytes = (shape: number[], fill = 0) => ({
  dtype: 'U8' as const,
  shape,
  data: new Uint8Array(shape.reduce((a, b) => a * b, 1)).fill(fill),
})
const zeros = (...shape: number[]) => ({ ...bytes([...shape, 4]), dtype: 'F32' as const, shape })
const weight = (rows: number, fill = 0) => floats([rows, H], new Float32Array(rows * H).fill(fill))
const nanAt = (index: number, value: number) =>
  weight(2).data &&
  floats(
    [2, H],
    new Float32Array(2 * H).map((_, i) => (i === index ? value : 0)),
  )

const noHead = { 'head.weight': undefined, 'head.bias': undefined }

const rejected: [string, Partial<TaskParts>, string, RegExp][] = [
  ['another format', { metadata: { format: 'propetl-task/2' } }, 'invalid_task_file', /"format" is "propetl-task\/2"/],
  ['no prototype', { metadata: { prototype: undefined } }, 'invalid_task_file', /"prototype" is missing/],
  ['a prototype that is not a digest', { metadata: { prototype: 'abc' } }, 'invalid_task_file', /SHA-256/],
  [
    'deeply nested metrics',
    { metadata: { metrics: `{"a":${'['.repeat(30_000)}${']'.repeat(30_000)}}` } },
    'invalid_task_file',
    /"metrics" has more than 32 levels of nesting; expected a JSON object$/,
  ],
  [
    'a very long value of combine',
    { metadata: { combine: 'x'.repeat(1_000_000) } },
    'invalid_task_file',
    /"combine" is "x{80}…"; expected or/,
  ],
  [
    'another prototype',
    { metadata: { prototype: 'a'.repeat(64) } },
    'prototype_mismatch',
    new RegExp(`${'a'.repeat(64)}.*${prototype.digest}`),
  ],
  [
    'an unknown combination',
    { metadata: { combine: 'xor' } },
    'invalid_task_file',
    /"combine" is "xor"; expected or \| and \| add \| none/,
  ],
  [
    'an unknown problem type',
    { metadata: { problem_type: 'ranking' } },
    'invalid_task_file',
    /"problem_type" is "ranking"/,
  ],
  [
    'the name of an inherited property as problem type',
    { metadata: { problem_type: 'constructor' } },
    'invalid_task_file',
    /"constructor"/,
  ],
  ['an unknown pooling', { metadata: { pooling: 'sum' } }, 'invalid_task_file', /"pooling" is "sum"/],
  ['no labels', { metadata: { labels: undefined } }, 'invalid_task_file', /"labels" is missing/],
  [
    'labels that are not JSON',
    { metadata: { labels: '[' } },
    'invalid_task_file',
    /is "\["; expected an array of label/,
  ],
  [
    'labels that are numbers',
    { metadata: { labels: '[1,2]' } },
    'invalid_task_file',
    /expected an array of label names/,
  ],
  [
    'three labels for two outputs',
    { metadata: { labels: '["a","b","c"]' } },
    'invalid_task_file',
    /3 labels, but head.weight has 2/,
  ],
  [
    'metrics with a number that JSON cannot represent',
    { metadata: { metrics: '{"dev":{"f1":1e999}}' } },
    'invalid_task_file',
    /"metrics" contains a number that is too large; expected a JSON object$/,
  ],
  [
    'too long metrics',
    { metadata: { metrics: `{"a":[${'[1],'.repeat(500_000)}1]}` } },
    'invalid_task_file',
    /"metrics" has 2000009 characters; at most 65536 are allowed$/,
  ],
  [
    'a too long description',
    { metadata: { description: 'x'.repeat(10_001) } },
    'invalid_task_file',
    /"description" has 10001 characters; at most 10000 are allowed$/,
  ],
  [
    '1,000 keys of metadata',
    { metadata: Object.fromEntries(Array.from({ length: 1_000 }, (_, at) => [`key${at}`, 'x'])) },
    'not_safetensors',
    /the header has more than 1000 values$/,
  ],
  [
    'a header of more than 4 MiB',
    { metadata: { anything: 'x'.repeat(4 * 1024 * 1024) } },
    'not_safetensors',
    /the header length is \d+ bytes; at most 4194304 are allowed$/,
  ],
  ['a repeated label', { metadata: { labels: '["a","a"]' } }, 'invalid_task_file', /contains "a" twice/],
  [
    'a repeated label among 100,000 labels',
    {
      metadata: { labels: JSON.stringify([...Array.from({ length: 99_999 }, (_, i) => `${i}`), '99998']) },
      tensors: { 'head.weight': zeros(100_000, 1), 'head.bias': zeros(100_000) },
    },
    'invalid_task_file',
    /contains "99998" twice/,
  ],
  [
    'regression with two outputs',
    { metadata: { problem_type: 'regression' } },
    'invalid_task_file',
    /exactly one output/,
  ],
  ['no mask', { tensors: { mask: undefined } }, 'invalid_task_file', /"mask" is missing/],
  ...['7', '1.5', '"512"', '1e9'].map((max_length): [string, Partial<TaskParts>, string, RegExp] => [
    `a maximum length of ${max_length}`,
    { metadata: { max_length } },
    'invalid_task_file',
    /"max_length" is .*; expected a whole number from 8 to 1000000/,
  ]),
  [
    'a text prefix that is too long',
    { metadata: { text_prefix: 'x'.repeat(1_001) } },
    'invalid_task_file',
    /"text_prefix" has 1001 characters; at most 1000 are allowed/,
  ],
  ...['AAAA', 'AAAAAAAAAAA=\n', '????'].map((held_out): [string, Partial<TaskParts>, string, RegExp] => [
    `the digests of held-out examples ${JSON.stringify(held_out)}`,
    { metadata: { held_out } },
    'invalid_task_file',
    /"held_out" is .*; expected digests of 8 bytes each in Base64/,
  ]),
  [
    'an unknown kind of inputs',
    { metadata: { inputs: 'pairs' } },
    'invalid_task_file',
    /"inputs" is "pairs"; expected text \| pair/,
  ],
  [
    'pairs of texts for a token classification',
    { metadata: { inputs: 'pair', problem_type: 'token_classification' } },
    'invalid_task_file',
    /"inputs" is "pair", but a token_classification takes single texts/,
  ],
  [
    'a task without a mask that names a prototype',
    { metadata: { backbone: prototype.backbone }, tensors: { mask: undefined } },
    'invalid_task_file',
    /"prototype" is present, but a task without a mask has none/,
  ],
  [
    'a task without a mask of another backbone',
    { ...withoutMask, metadata: { ...withoutMask.metadata, backbone: 'b'.repeat(64) } },
    'backbone_mismatch',
    new RegExp(`${'b'.repeat(64)}.*${prototype.backbone}`),
  ],
  [
    'a task with a mask that names a backbone',
    { metadata: { backbone: prototype.backbone } },
    'invalid_task_file',
    /"backbone" is present, but only a task without a mask has one/,
  ],
  ['a mask one byte short', { tensors: { mask: bytes([1, 3071]) } }, 'invalid_task_file', /3071 bytes; expected 3072/],
  ['a mask of two rows', { tensors: { mask: bytes([2, 3072]) } }, 'invalid_task_file', /2 rows; expected 1, or 6/],
  ['a mask with 0 rows', { tensors: { mask: bytes([0, 3072]) } }, 'invalid_task_file', /none of them 0/],
  [
    'a mask of floats',
    { tensors: { mask: floats([1, 768], new Float32Array(768)) } },
    'invalid_task_file',
    /mask is F32/,
  ],
  [
    'a BOOL mask with a 2',
    { tensors: { mask: { ...bytes([1, 24576], 2), dtype: 'BOOL' } } },
    'invalid_task_file',
    /byte 0 is 2/,
  ],
  [
    'a BOOL mask too short',
    { tensors: { mask: { ...bytes([1, 24575]), dtype: 'BOOL' } } },
    'invalid_task_file',
    /covers 24575 weights/,
  ],
  ['no head', { tensors: { 'head.weight': undefined } }, 'invalid_task_file', /"head.weight" is missing/],
  [
    'a bias of another length',
    { tensors: { 'head.bias': floats([3], [0, 0, 0]) } },
    'invalid_task_file',
    /head.bias has 3 values/,
  ],
  [
    'a head with another number of inputs',
    { tensors: { 'head.weight': floats([2, 383], new Float32Array(766)) } },
    'invalid_task_file',
    /takes 383 values; expected 384/,
  ],
  [
    'a head with NaN',
    { tensors: { 'head.weight': nanAt(5, Number.NaN) } },
    'invalid_task_file',
    /head.weight: element 5 is NaN/,
  ],
  [
    'a head with infinity',
    { tensors: { 'head.weight': nanAt(700, Number.NEGATIVE_INFINITY) } },
    'invalid_task_file',
    /element 700 is -Infinity/,
  ],
  [
    'a head of integers',
    { tensors: { 'head.bias': { dtype: 'I32', shape: [2], data: new Uint8Array(8) } } },
    'invalid_task_file',
    /head.bias is I32/,
  ],
  ['an unknown tensor', { tensors: { extra: bytes([1]) } }, 'invalid_task_file', /"extra" is not part/],
  [
    'a range that runs backwards',
    { metadata: { range: '[5,1]' } },
    'invalid_task_file',
    /first number must be less than the second/,
  ],
  [
    'a threshold of another problem type',
    { metadata: { threshold: '0.3' } },
    'invalid_task_file',
    /"threshold" is present, but only multi_label_classification has one; this task is single_label_classification$/,
  ],
  ...['0', '1', '"0.3"', 'half'].map((threshold): (typeof rejected)[number] => [
    `a threshold of ${threshold}`,
    { metadata: { problem_type: 'multi_label_classification', threshold } },
    'invalid_task_file',
    /"threshold" is .*; expected a number above 0 and below 1/,
  ]),
  [
    'thresholds of another problem type',
    {
      metadata: { problem_type: 'token_classification' },
      tensors: { thresholds: floats([2], Float32Array.of(0.5, 0.5)) },
    },
    'invalid_task_file',
    /"thresholds" is present, but only single_label_classification and multi_label_classification have thresholds/,
  ],
  [
    'a threshold too few',
    { tensors: { thresholds: floats([1], Float32Array.of(0.5)) } },
    'invalid_task_file',
    /thresholds has 1 values, but head.weight has 2 rows/,
  ],
  ...[0, 1, Number.NaN].map((threshold): (typeof rejected)[number] => [
    `a threshold tensor with ${threshold}`,
    { tensors: { thresholds: floats([2], Float32Array.of(0.5, threshold)) } },
    'invalid_task_file',
    /thresholds: element 1 is (0|1|NaN); expected/,
  ]),
  [
    'an offset of another problem type',
    { metadata: { offset: '1' } },
    'invalid_task_file',
    /"offset" is present, but only regression has one/,
  ],
  [
    'an offset that is not finite',
    { metadata: { problem_type: 'regression', labels: undefined, offset: '1e999' } },
    'invalid_task_file',
    /"offset" contains a number that is too large/,
  ],
  [
    'a rule of words of another problem type',
    { metadata: { words: '{}' } },
    'invalid_task_file',
    /"words" is present, but only token_classification has one/,
  ],
  ...['[]', '{"leading":1}', '{"other":""}', '{"clitics":["\'"]}', `{"trailing":"${'.'.repeat(257)}"}`].map(
    (words): (typeof rejected)[number] => [
      `a rule of words that is ${words.slice(0, 30)}`,
      { metadata: { problem_type: 'token_classification', words } },
      'invalid_task_file',
      /"words" is .*; expected the rule of words, as docs\/file-formats\.md describes it/,
    ],
  ),
  [
    'a rule of words that is too long',
    { metadata: { problem_type: 'token_classification', words: `{"inner":false${' '.repeat(65_536)}}` } },
    'invalid_task_file',
    /"words" has \d+ characters; at most 65536 are allowed/,
  ],
  [
    'a normalize field of another problem type',
    { metadata: { normalize: 'true' } },
    'invalid_task_file',
    /"normalize" is present, but only feature_extraction has one/,
  ],
  [
    'feature extraction with a head',
    { metadata: { problem_type: 'feature_extraction', labels: undefined } },
    'invalid_task_file',
    /tensor "head\.(weight|bias)" is present, but feature_extraction has no head/,
  ],
  [
    'feature extraction with labels',
    { metadata: { problem_type: 'feature_extraction' }, tensors: noHead },
    'invalid_task_file',
    /"labels" is present, but feature_extraction has no labels/,
  ],
  [
    'a normalize field that is neither true nor false',
    { metadata: { problem_type: 'feature_extraction', labels: undefined, normalize: 'yes' }, tensors: noHead },
    'invalid_task_file',
    /"normalize" is "yes"; expected true \| false/,
  ],
  [
    'a dense layer with another number of outputs',
    {
      tensors: {
        'head.dense.weight': floats([3, H], new Float32Array(3 * H)),
        'head.dense.bias': floats([3], [0, 0, 0]),
      },
    },
    'invalid_task_file',
    /head.weight takes 384 values, but head.dense.weight returns 3/,
  ],
]

describe('the task file reader', () => {
  for (const [what, changes, code, message] of rejected)
    test(`rejects ${what}`, () => {
      assert.throws(
        () => read(changes),
        (error: Problem) => error.code === code && message.test(error.message),
      )
    })

  test('rejects a file that is truncated at any byte', () => {
    for (let length = 0; length < sst2.byteLength; length += 7)
      assert.throws(
        () => readTaskFile(sst2.subarray(0, length)),
        (error: Problem) => error.code === 'not_safetensors',
      )
  })

  test('reads a BOOL mask as bits', () => {
    const packed = maskOf(read({})).bits
    const data = Uint8Array.from({ length: 24_576 }, (_, i) => ((packed[i >> 3] ?? 0) >> (i & 7)) & 1)
    const mask = { dtype: 'BOOL', shape: [1, 24_576], data } as const
    assert.deepEqual(maskOf(read({ tensors: { mask } })).bits, packed)
  })

  test('reads a float16 head', () => {
    const data = new Uint8Array(new Uint16Array(2 * H).fill(0x3800).buffer)
    const task = read({ tensors: { 'head.weight': { dtype: 'F16', shape: [2, H], data } } })
    assert.ok(headOf(task).output.weight.every((value) => value === 0.5))
  })

  test('gives a multi-label task the threshold 0.5 by default', () => {
    const task = (threshold?: string) => read({ metadata: { problem_type: 'multi_label_classification', threshold } })
    for (const [given, expected] of [
      [undefined, 0.5],
      ['0.125', 0.125],
    ] as const) {
      const file = task(given)
      assert.equal(file.problemType === 'multi_label_classification' && file.thresholds, expected)
    }
  })

  test('reads the rule of words of a token classification, and writes it', () => {
    const metadata = { problem_type: 'token_classification' }
    assert.equal(read({ metadata }).words, undefined)
    assert.deepEqual(read({ metadata: { ...metadata, words: '{}' } }).words, defaultWordRule)
    const words = { leading: '(', trailing: '.!', inner: true, clitics: ["'s"], whole: ['St.'] }
    const task = read({ metadata: { ...metadata, words: JSON.stringify(words) } })
    assert.deepEqual(task.words, words)
    assert.deepEqual(readTaskFile(serializeTaskFile(task)).words, words)
  })

  test('reads feature extraction without a head, with normalised vectors by default', () => {
    for (const [normalize, expected] of [
      [undefined, true],
      ['true', true],
      ['false', false],
    ] as const) {
      const metadata = { problem_type: 'feature_extraction', labels: undefined, normalize }
      const file = read({ metadata, tensors: noHead })
      assert.equal(file.head, undefined)
      assert.equal(file.problemType === 'feature_extraction' && file.normalize, expected)
    }
  })

  test('reads how texts become tokens; a file without these fields leaves that to the model', () => {
    const form = ({ maxLength, textPrefix, inputs }: TaskFile) => [maxLength, textPrefix, inputs]
    assert.deepEqual(form(read({})), [undefined, undefined, undefined])
    const metadata = { max_length: '128', text_prefix: 'query: ', inputs: 'pair' }
    assert.deepEqual(form(read({ metadata })), [128, 'query: ', 'pair'])
  })

  test('accepts a task without a mask for any prototype of its backbone, and for none', () => {
    const task = read(withoutMask)
    assert.equal(task.mask, undefined)
    assert.equal(task.backbone, prototype.backbone)
    checkTaskFits(task, { backbone: prototype.backbone, hiddenSize: H })
    assert.throws(() => checkTaskFits(read({}), { backbone: prototype.backbone, hiddenSize: H }), /has no prototype/)
  })

  test('accepts only combine "none" if the prototype has no layer masks', () => {
    const { layerMasks: _, ...bare } = prototype
    const task = (combine: string) => readTaskFile(changedTask(sst2, { metadata: { combine } }))
    checkTaskFitsPrototype(task('none'), bare)
    for (const combine of ['or', 'and', 'add'])
      assert.throws(() => checkTaskFitsPrototype(task(combine), bare), /no layer masks/)
  })
})

test('a feature extraction may have a projection, and no other problem type', () => {
  const projection = {
    inputs: 4,
    outputs: 2,
    weight: new Float32Array(8),
    bias: new Float32Array(2),
    activation: 'relu',
  } as const
  const common = { backbone: 'b'.repeat(64), labels: [], pooling: 'max' } as const
  const task = { ...common, problemType: 'feature_extraction', normalize: false, projection } as const
  const file = serializeTaskFile(task)
  const { digest, ...read } = readTaskFile(file)
  assert.deepEqual(read, task)
  assert.match(digest, /^[0-9a-f]{64}$/)
  checkTaskFits(task, { backbone: common.backbone, hiddenSize: 4 })
  assert.throws(() => checkTaskFits(task, { backbone: common.backbone, hiddenSize: 5 }), {
    code: 'invalid_task_file',
    message: /the projection takes 4 values; expected 5/,
  })
  assert.throws(() => readTaskFile(changedTask(file, { tensors: { 'projection.bias': undefined } })), {
    code: 'invalid_task_file',
    message: /tensor "projection\.bias" is missing/,
  })
  assert.throws(() => readTaskFile(changedTask(file, { metadata: { problem_type: 'regression' } })), {
    code: 'invalid_task_file',
  })
  assert.throws(
    () => readTaskFile(changedTask(taskBytes('sst2'), { tensors: { 'projection.bias': floats([2], [0, 0]) } })),
    {
      code: 'invalid_task_file',
      message: /tensor "projection\.bias" is present, but single_label_classification has no projection/,
    },
  )
})
