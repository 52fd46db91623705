// Tags of all schemes as IOB2. The expected entities and scores are those of seqeval 1.2.2 in its default mode.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { entitiesOf, tagsOf } from '../../src/formats/iob.js'
import { schemeTag, TagSurvey, tagSchemeOf, toIob2 } from '../../src/formats/tag-schemes.js'
import { spanCounts, spanF1 } from '../../src/learn/metrics.js'

const types = new Set(['PER', 'LOC'])

function iob2(labels: string, known: ReadonlySet<string> = types): string {
  const tags = labels.split(' ').map((label) => schemeTag(label, known))
  return toIob2(tags.map((tag) => (typeof tag === 'string' ? assert.fail(tag) : tag))).join(' ')
}

function survey(...sentences: string[]) {
  const found = new TagSurvey()
  for (const sentence of sentences) found.add(sentence.split(' '))
  return found.result
}

describe('a tag scheme', () => {
  const iob2Tags = 'B-PER I-PER O O B-LOC B-LOC I-LOC'
  const schemes: [name: string, notation: string, labels: string, known?: readonly string[]][] = [
    ['IOB2', 'prefix', iob2Tags],
    ['IOB1', 'prefix', 'I-PER I-PER O O I-LOC B-LOC I-LOC'],
    ['BIOES', 'prefix', 'B-PER E-PER O O S-LOC B-LOC E-LOC'],
    ['BILOU', 'prefix', 'B-PER L-PER O O U-LOC B-LOC L-LOC'],
    ['BMES', 'prefix', 'B-PER E-PER O O S-LOC B-LOC E-LOC B-LOC M-LOC E-LOC'],
    ['IOB2', 'prefix', 'B_PER I_PER O O B_LOC B_LOC I_LOC'],
    ['IOB2', 'suffix', 'PER-B PER-I O O LOC-B LOC-B LOC-I'],
    ['BIOES', 'suffix', 'PER_B PER_E O O LOC_S LOC_B LOC_E'],
    ['IOB2', 'prefix', 'b-PER i-PER o o b-LOC b-LOC i-LOC'],
  ]
  for (const [name, notation, labels] of schemes)
    test(`is recognised and read as IOB2: ${labels}`, () => {
      const found = survey(labels)
      assert.equal(found?.name, name)
      assert.equal(found.notation, notation)
      assert.deepEqual([...found.types].sort(), ['LOC', 'PER'])
      const expected = name === 'BMES' ? `${iob2Tags} B-LOC I-LOC I-LOC` : iob2Tags
      assert.equal(iob2(labels), expected)
    })

  test('without begin tags is IO, with prefixes or without', () => {
    assert.equal(survey('I-PER I-PER O I-LOC')?.name, 'IO')
    assert.equal(survey('PER PER O LOC')?.name, 'IO')
    assert.equal(iob2('I-PER I-PER O I-LOC I-PER'), 'B-PER I-PER O B-LOC B-PER')
    assert.equal(iob2('PER PER O LOC PER'), 'B-PER I-PER O B-LOC B-PER')
  })

  test('is not seen in labels that do not tag entities', () => {
    for (const labels of [['NOUN', 'VERB'], ['O'], ['E-mail', 'S-train'], []])
      assert.equal(tagSchemeOf(labels), undefined)
  })

  test('keeps types with hyphens, and in lower case', () => {
    assert.deepEqual(survey('B-art-film I-art-film O')?.types, ['art-film'])
    assert.deepEqual(survey('b-per i-per o')?.types, ['per'])
    assert.equal(iob2('b-per i-per o', new Set(['per'])), 'B-per I-per O')
  })

  test('leaves labels that are not tags of a known type', () => {
    assert.equal(schemeTag('B-ORG', types), 'B-ORG')
    assert.equal(schemeTag('X-PER', types), 'X-PER')
  })
})

/** Random tags, which break the rules of their schemes, with what get_entities and f1_score return for them. */
const cases = {
  IOB: {
    actual: [
      'B-PER I-PER O O I-LOC',
      'B-LOC I-LOC O',
      'B-PER O O I-PER I-PER O B-PER',
      'I-LOC I-PER O',
      'I-LOC O B-PER I-LOC O I-LOC I-LOC I-PER O',
      'O I-LOC B-PER B-LOC',
      'B-PER I-LOC O I-LOC B-LOC I-LOC',
      'B-PER O I-LOC I-LOC B-PER B-LOC O I-LOC O',
    ],
    predicted: [
      'B-PER I-PER I-PER I-PER I-LOC',
      'B-LOC I-LOC B-PER',
      'B-PER O O I-PER I-PER O B-PER',
      'I-LOC B-PER I-PER',
      'I-LOC I-LOC B-PER B-LOC O I-LOC I-LOC O B-LOC',
      'O O B-LOC I-PER',
      'B-PER I-LOC O B-LOC B-LOC I-LOC',
      'B-PER B-PER I-PER I-LOC O B-LOC O I-LOC O',
    ],
    f1: 0.64,
    entities: [
      ['PER 0 1', 'LOC 4 4'],
      ['LOC 0 1'],
      ['PER 0 0', 'PER 3 4', 'PER 6 6'],
      ['LOC 0 0', 'PER 1 1'],
      ['LOC 0 0', 'PER 2 2', 'LOC 3 3', 'LOC 5 6', 'PER 7 7'],
      ['LOC 1 1', 'PER 2 2', 'LOC 3 3'],
      ['PER 0 0', 'LOC 1 1', 'LOC 3 3', 'LOC 4 5'],
      ['PER 0 0', 'LOC 2 3', 'PER 4 4', 'LOC 5 5', 'LOC 7 7'],
    ],
  },
  BIOES: {
    actual: [
      'S-LOC I-LOC E-LOC E-PER E-LOC I-PER',
      'B-PER B-LOC B-LOC I-PER',
      'I-PER O S-PER B-LOC I-LOC I-LOC O B-LOC',
      'S-LOC E-PER E-PER B-LOC S-LOC O',
      'S-LOC E-LOC E-LOC E-LOC E-LOC B-PER',
      'E-LOC O I-PER B-PER I-PER S-PER',
      'B-PER E-PER O B-PER',
      'B-LOC S-LOC B-PER',
    ],
    predicted: [
      'O I-LOC E-LOC E-PER E-PER S-PER',
      'B-PER S-PER B-LOC I-PER',
      'I-PER I-LOC S-PER S-LOC I-LOC S-LOC O O',
      'I-LOC B-PER I-LOC B-LOC E-PER S-LOC',
      'S-LOC E-LOC I-PER E-LOC I-PER B-PER',
      'E-LOC O S-PER B-PER E-PER S-PER',
      'E-PER E-PER O B-PER',
      'B-LOC S-LOC B-PER',
    ],
    f1: 0.6666666666666666,
    entities: [
      ['LOC 0 0', 'LOC 1 2', 'PER 3 3', 'LOC 4 4', 'PER 5 5'],
      ['PER 0 0', 'LOC 1 1', 'LOC 2 2', 'PER 3 3'],
      ['PER 0 0', 'PER 2 2', 'LOC 3 5', 'LOC 7 7'],
      ['LOC 0 0', 'PER 1 1', 'PER 2 2', 'LOC 3 3', 'LOC 4 4'],
      ['LOC 0 0', 'LOC 1 1', 'LOC 2 2', 'LOC 3 3', 'LOC 4 4', 'PER 5 5'],
      ['LOC 0 0', 'PER 2 2', 'PER 3 4', 'PER 5 5'],
      ['PER 0 1', 'PER 3 3'],
      ['LOC 0 0', 'LOC 1 1', 'PER 2 2'],
    ],
  },
  IO: {
    actual: ['O I-PER I-LOC I-PER I-LOC O I-LOC', 'I-PER I-PER I-LOC O I-LOC O', 'I-LOC O I-LOC I-LOC I-PER I-LOC'],
    predicted: ['O I-PER O O I-LOC O I-LOC', 'I-PER I-PER I-LOC O O O', 'I-LOC O O I-LOC I-PER I-LOC'],
    f1: 0.7619047619047619,
    entities: [
      ['PER 1 1', 'LOC 2 2', 'PER 3 3', 'LOC 4 4', 'LOC 6 6'],
      ['PER 0 1', 'LOC 2 2', 'LOC 4 4'],
      ['LOC 0 0', 'LOC 2 3', 'PER 4 4', 'LOC 5 5'],
    ],
  },
} as const

const labels = ['O', 'B-PER', 'I-PER', 'B-LOC', 'I-LOC']
const tags = tagsOf(labels) ?? assert.fail()
const indexes = (sentences: readonly string[]) =>
  sentences.flatMap((sentence) => iob2(sentence).split(' ')).map((label) => labels.indexOf(label))

for (const [name, { actual, predicted, f1, entities }] of Object.entries(cases))
  test(`entities of ${name} tags and their F1 equal those of seqeval`, () => {
    const found = actual.map((sentence) =>
      entitiesOf(
        iob2(sentence)
          .split(' ')
          .map((label) => tags[labels.indexOf(label)]),
      ).map(({ type, first, end }) => `${type} ${first} ${end - 1}`),
    )
    assert.deepEqual(found, entities)
    let words = 0
    const starts = [0, ...actual.map((sentence) => (words += sentence.split(' ').length))]
    const score = spanF1(spanCounts(indexes(predicted), indexes(actual), starts, tags))
    assert.ok(Math.abs(score - f1) < 1e-12, `${score} and ${f1}`)
  })
