// Tasks that are ready to run: the memory that they are charged.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { serializeSafetensors, type TensorData } from '../../src/formats/safetensors.js'
import { readTaskFile, taskFormat } from '../../src/petl/task-file.js'
import { finish } from '../../src/steps.js'
import { taskInSteps } from '../../src/tasks/ready-tasks.js'

const labels = 10_000
const model = { backbone: 'b'.repeat(64), hiddenSize: 2 }

function memoryWith(tensors: Record<string, TensorData>): number {
  const metadata = {
    format: taskFormat,
    backbone: model.backbone,
    problem_type: 'multi_label_classification',
    pooling: 'mean',
    labels: JSON.stringify(Array.from({ length: labels }, (_, label) => `label ${label}`)),
  }
  const file = serializeSafetensors(metadata, {
    'head.weight': { dtype: 'F32', shape: [labels, 2], data: new Uint8Array(8 * labels) },
    'head.bias': { dtype: 'F32', shape: [labels], data: new Uint8Array(4 * labels) },
    ...tensors,
  })
  return finish(taskInSteps(readTaskFile(file), model)).bytes
}

test('counts the memory of thresholds that are converted to float32', () => {
  const half = 0x3800
  const data = new Uint8Array(new Uint16Array(labels).fill(half).buffer)
  const more = memoryWith({ thresholds: { dtype: 'F16', shape: [labels], data } }) - memoryWith({})
  // Two bytes of each in the file, and four of the converted number.
  assert.ok(more >= 6 * labels, `${more} bytes`)
})
