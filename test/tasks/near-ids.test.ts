import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { nearestId } from '../../src/tasks/near-ids.js'

const ids = ['cola', 'mrpc', 'sick_relatedness', 'sst2', 'subj', 'x']

describe('the suggestion for a misspelt id', () => {
  for (const [misspelt, expected] of [
    ['sst-2', 'sst2'],
    ['SST2', 'sst2'],
    ['sst2.safetensors', 'sst2'],
    ['sick-relatednes', 'sick_relatedness'],
    ['ssst2', 'sst2'],
    ['coal', undefined],
    ['y', undefined],
    ['tickets', undefined],
    ['', undefined],
    ['a'.repeat(10_000), undefined],
  ] as const)
    test(`is ${expected} for ${misspelt.slice(0, 20) || 'an empty id'}`, () => {
      assert.equal(nearestId(misspelt, ids), expected)
    })

  test('is the nearest of several similar ids', () => {
    assert.equal(nearestId('support-tickets', ['support-tocketz', 'support-ticket', 'support']), 'support-ticket')
  })
})
