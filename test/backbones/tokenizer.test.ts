// Truncation of texts and pairs to the longest row.

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { type TextForm, TextTokenizer } from '../../src/backbones/tokenizer.js'
import { splitWords } from '../../src/backbones/words.js'
import { modelDir } from '../material.js'

const tokenizer = new TextTokenizer(join(modelDir, 'tokenizer.json'), 8)
const tokens = async (text: string, textPair?: string, form: TextForm = {}) => {
  const pair = textPair !== undefined && { textPair }
  const { encoding, fullLength, isCut } = await tokenizer.encode({ text, ...pair }, form)
  return { tokens: encoding.getTokens().join(' '), offsets: encoding.getOffsets(), fullLength, isCut }
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

test('a form sets the longest row, up to that of the backbone', async () => {
  const cut = await tokens('one two three four', undefined, { maxLength: 4 })
  assert.deepEqual([cut.tokens, cut.fullLength, cut.isCut], ['[CLS] one two [SEP]', 6, true])
  assert.equal((await tokens('one two', undefined, { maxLength: 4 })).isCut, false)
  assert.equal((await tokens('a '.repeat(20), undefined, { maxLength: 512 })).tokens.split(' ').length, 8)
  assert.equal(tokenizer.maxCharactersOf({ maxLength: 4 }), 4 * 32)
  // No token is missing, but characters are: they were not read.
  assert.equal((await tokens(`one${' '.repeat(200)}two`, undefined, { maxLength: 4 })).isCut, true)
})

test('the prefix of a form is put before a text, and before both texts of a pair', async () => {
  assert.equal((await tokens('one two', undefined, { textPrefix: 'go: ' })).tokens, '[CLS] go : one two [SEP]')
  assert.equal((await tokens('one', 'two', { textPrefix: 'go ' })).tokens, '[CLS] go one [SEP] go two [SEP]')
})

test('the words of a text with a prefix have offsets into the text alone', async () => {
  for (const textPrefix of ['go: ', '😀 ', 'x']) {
    const { text, encoding, prefixLength } = await tokenizer.encode({ text: 'one two' }, { textPrefix })
    const words = splitWords(text, encoding, prefixLength).map(({ start, end }) => 'one two'.slice(start, end))
    assert.deepEqual(words, ['one', 'two'], textPrefix)
  }
})
