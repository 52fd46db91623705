import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { jsonInSteps } from '../../src/http/large-responses.js'
import { finish } from '../../src/steps.js'

const written = (value: object) => Buffer.concat(finish(jsonInSteps(value))).toString()

describe('a large response', () => {
  test('is serialised like JSON.stringify', () => {
    fc.assert(
      fc.property(fc.oneof(fc.array(fc.jsonValue()), fc.dictionary(fc.string(), fc.jsonValue())), (value) => {
        assert.equal(written(value as object), JSON.stringify(value))
      }),
    )
    const odd = { a: undefined, b: [undefined, Number.NaN, { c: undefined, d: [] }], e: {} }
    assert.equal(written(odd), JSON.stringify(odd))
  })

  test('is serialised in pieces, with pauses between them', () => {
    const scores = Array.from({ length: 20_000 }, (_, at) => ({ label: `label ${at} ü`, score: at / 7 }))
    const steps = jsonInSteps({ scores })
    let pauses = 0
    let step = steps.next()
    for (; !step.done; step = steps.next()) pauses++
    assert.equal(pauses, 20)
    assert.ok(step.value.length > 10)
    assert.ok(step.value.every(({ byteLength }) => byteLength < 128 * 1024))
    assert.equal(Buffer.concat(step.value).toString(), JSON.stringify({ scores }))
  })
})
