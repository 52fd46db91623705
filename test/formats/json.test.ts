// The reader of JSON arrays of strings, compared with JSON.parse.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { readStrings } from '../../src/formats/json.js'
import { finish } from '../../src/steps.js'

const read = (text: string) => finish(readStrings(text, () => {}))

describe('an array of strings in JSON', () => {
  test('is read as JSON.parse reads it, with any strings and white space', () => {
    const space = fc.stringMatching(/^[ \t\n\r]{0,3}$/)
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary' }), { minLength: 1 }), space, (strings, white) => {
        const text = `${white}[${white}${strings.map((each) => JSON.stringify(each)).join(`${white},${white}`)}${white}]${white}`
        assert.deepEqual(read(text), JSON.parse(text))
      }),
    )
  })

  test('is undefined if the text is anything else', () => {
    const others = ['', '[', '[]', '"a"', '["a"', '["a",]', '["a" "b"]', '["a"]x', '["a",1]', '[["a"]]', '{"a":"b"}']
    for (const text of [...others, '["a\\"]', '["\\x"]', '["a\n"]', '[,"a"]']) assert.equal(read(text), undefined, text)
    fc.assert(
      fc.property(fc.json(), (text) => {
        const value: unknown = JSON.parse(text)
        const isList = Array.isArray(value) && value.length > 0 && value.every((each) => typeof each === 'string')
        assert.deepEqual(read(text), isList ? value : undefined)
      }),
    )
  })

  test('passes each string to the check before it reads the next', () => {
    const seen: string[] = []
    const stop = (value: string, at: number) => {
      seen.push(value)
      if (at === 1) throw new Error('enough')
    }
    assert.throws(() => finish(readStrings('["a","b","c"]', stop)), /enough/)
    assert.deepEqual(seen, ['a', 'b'])
  })
})
