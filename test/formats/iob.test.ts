// Entities of IOB2 tags.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { entitiesOf, tagsOf } from '../../src/formats/iob.js'

const labels = ['O', 'B-PER', 'I-PER', 'B-LOC', 'I-LOC']
const tags = tagsOf(labels) ?? assert.fail()
/** Entities as `type first end`. */
const entities = (sequence: string) =>
  entitiesOf(sequence.split(' ').map((label) => tags[labels.indexOf(label)])).map(
    ({ type, first, end }) => `${type} ${first} ${end}`,
  )

test('finds the entities that conlleval finds', () => {
  assert.deepEqual(entities('O B-PER I-PER O B-LOC'), ['PER 1 3', 'LOC 4 5'])
  assert.deepEqual(entities('B-PER B-PER I-PER'), ['PER 0 1', 'PER 1 3'])
  // An I-X that does not continue an entity of its type begins one.
  assert.deepEqual(entities('I-PER I-PER O I-LOC'), ['PER 0 2', 'LOC 3 4'])
  assert.deepEqual(entities('B-PER I-LOC I-LOC'), ['PER 0 1', 'LOC 1 3'])
  assert.deepEqual(entities('I-PER B-PER'), ['PER 0 1', 'PER 1 2'])
  assert.deepEqual(entities('O O'), [])
})

test('a word without a tag is outside any entity', () => {
  const [, begin, inside] = tags
  assert.deepEqual(
    entitiesOf([begin, undefined, inside]).map(({ first, end }) => [first, end]),
    [
      [0, 1],
      [2, 3],
    ],
  )
})

test('accepts only labels that are O, B-X or I-X', () => {
  assert.deepEqual(tagsOf(['B-a-b', 'O']), [{ begins: true, type: 'a-b' }, undefined])
  for (const other of [['NOUN', 'VERB'], ['O', 'B-PER', 'E-PER'], ['O'], ['O', 'B-'], ['BPER', 'O']])
    assert.equal(tagsOf(other), undefined)
})
