// The index of texts by their hashes.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TextIndex } from '../../src/data/text-index.js'

test('finds each text again, with what was stored at its first occurrence', () => {
  const index = new TextIndex()
  const count = 100_000
  for (let at = 0; at < count; at++) assert.equal(index.add(`text ${at}`, at % 7, at), undefined)
  assert.equal(index.size, count)
  for (let at = 0; at < count; at += 97) assert.deepEqual(index.add(`text ${at}`, 0, 0), { label: at % 7, place: at })
  assert.deepEqual(index.find('text 5'), { label: 5, place: 5 })
  for (const other of ['', 'text', 'text 100000', 'text 5 ', '5 text']) assert.equal(index.find(other), undefined)
  assert.equal(index.size, count)
})
