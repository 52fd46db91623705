// Truncation of texts and pairs to the longest row.

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { TextTokenizer } from '../../src/backbones/tokenizer.js'
import { modelDir } from '../material.js'

const tokenizer = new TextTokenizer(join(modelDir, 'tokenizer.json'), 8)
const tokens = async (text: string, textPair?: string) => {
  const { encoding, fullLength } = await tokenizer.encode({ text, ...(textPair !== undefined && { textPair }) })
  return { tokens: encoding.getTokens().join(' '), offsets: encoding.getOffsets(), fullLength }
}

test('a text that is too long is cut at its end', async () => {
  const { tokens: kept, offsets, fullLength } = await tokens('one two three four five six seven eight')
  assert.equal(kept, '[CLS] one two three four five six [SEP]')
  assert.deepEqual(offsets[1], [0, 3])
  assert.equal(fullLength, 10)
})

test('the longer text of a pair is cut first', async () => {
  assert.equal((await tokens('one two three four five', 'six')).tokens, '[CLS] one two three four [SEP] six [SEP]')
  assert.equal((await tokens('one two', 'three four five six')).tokens, '[CLS] one two [SEP] three four five [SEP]')
  assert.equal((await tokens('one two three', 'four five six')).tokens, '[CLS] one two [SEP] four five six [SEP]')
})
