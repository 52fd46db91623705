// The names of labels as examples of a multi-label classification.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { LabelSpace } from '../../src/data/label-space.js'
import { exampleCount, targetsOf } from '../../src/learn/example-set.js'
import { joinVectors } from '../../src/learn/head-selection.js'
import { labelNameExamples } from '../../src/learn/label-names.js'
import { loadModel } from '../../src/learn/model.js'
import { modelDir } from '../material.js'

const { backbone, tokenizer } = await loadModel(modelDir, 24)
const { vocabulary } = backbone.dims
const space: LabelSpace = {
  problem: 'multi_label_classification',
  labels: ['network::client', 'x11::font', 'role::data'],
}
const namesOf = (given: LabelSpace, most: number, textPrefix?: string) =>
  labelNameExamples(given, tokenizer, textPrefix === undefined ? {} : { textPrefix }, vocabulary, most)

test('the name of each label is an example with this label alone, encoded as texts are', async () => {
  const names = await namesOf(space, 3, 'query: ')
  assert.ok(names)
  assert.equal(exampleCount(names.set), 3)
  assert.deepEqual([...targetsOf(names)], [1, 0, 0, 0, 1, 0, 0, 0, 1])
  for (const [at, text] of space.labels.entries()) {
    const { inputIds } = await tokenizer.encode({ text: `query: ${text}` })
    assert.deepEqual([...names.set.tokens.span(at).inputIds], [...inputIds])
  }
})

test('names are not examples if there are more labels than examples, or if a text has one label', async () => {
  assert.equal(await namesOf(space, 2), undefined)
  assert.equal(await namesOf({ ...space, problem: 'single_label_classification' }, 3), undefined)
})

test('vectors of examples and of names are joined in their order', () => {
  const data = { vectors: Float32Array.of(1, 2), targets: Float32Array.of(0), counted: Float32Array.of(1) }
  const names = { vectors: Float32Array.of(3, 4), targets: Float32Array.of(1), counted: Float32Array.of(1) }
  assert.deepEqual(joinVectors([data, names]), {
    vectors: Float32Array.of(1, 2, 3, 4),
    targets: Float32Array.of(0, 1),
    counted: Float32Array.of(1, 1),
  })
})
