import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startingMasks } from '../../src/learn/starting-masks.js'
import { effectiveBitset } from '../../src/petl/combining.js'
import { readTaskFile, type TaskFile } from '../../src/petl/task-file.js'
import { loadPrototype, taskBytes } from '../material.js'

const prototype = loadPrototype()
const loadTasks = (...ids: string[]): Map<string, TaskFile> =>
  new Map(ids.map((id) => [id, readTaskFile(taskBytes(id))]))

test('a mask per layer starts from no mask, the layer masks, or the effective mask of a known task', () => {
  const known = loadTasks('sst2', 'mrpc')
  const masks = startingMasks(prototype, { maskLayers: 6, combine: 'none' }, known)
  assert.deepEqual(
    masks.map(({ name, isBare }) => [name, isBare]),
    [
      ['no mask', true],
      ['the prototype', false],
      ['sst2', false],
      ['mrpc', false],
    ],
  )
  assert.deepEqual(masks[1]?.bits, prototype.layerMasks)
  // mrpc combines one mask with the layer masks: a new task of six own masks starts from what that has in effect.
  const mrpc = known.get('mrpc')
  assert.ok(mrpc)
  assert.equal(mrpc.combine, 'or')
  assert.deepEqual(masks[3]?.bits, effectiveBitset(mrpc, prototype))
})

test('one mask that is combined starts only from tasks that combine in the same way', () => {
  const masks = startingMasks(prototype, { maskLayers: 1, combine: 'or' }, loadTasks('sst2', 'mrpc'))
  assert.deepEqual(
    masks.map(({ name }) => name),
    ['no mask', 'a random mask', 'sst2', 'mrpc'],
  )
  const others = startingMasks(prototype, { maskLayers: 1, combine: 'and' }, loadTasks('sst2'))
  assert.deepEqual(
    others.map(({ name }) => name),
    ['no mask', 'a random mask'],
  )
})

test('a model without a prototype has no masks', () => {
  const masks = startingMasks(undefined, { maskLayers: 6, combine: 'none' }, loadTasks('sst2'))
  assert.deepEqual(masks, [{ name: 'no mask', isBare: true }])
})
