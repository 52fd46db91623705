// The labels of served words, and scores of served entities.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Example } from '../../src/data/examples.js'
import type { LabelSpace } from '../../src/data/label-space.js'
import { type Span, wordSpans } from '../../src/formats/word-rule.js'
import { scoreOf } from '../../src/learn/evaluation.js'
import { problemTraits } from '../../src/learn/problem-traits.js'
import { spansThatCutWords, withServedWords } from '../../src/learn/word-labels.js'

const space: LabelSpace = { problem: 'token_classification', labels: ['B-LOC', 'B-PER', 'I-LOC', 'I-PER', 'O'] }

const spansOf = (text: string, ...parts: string[]): Span[] => {
  let at = 0
  return parts.map((part) => {
    const start = text.indexOf(part, at)
    at = start + part.length
    return { start, end: at }
  })
}

/** An example of words and tags, separated by spaces. */
const tagged = (text: string, tags: string): Example => ({
  place: 'x',
  text,
  label: tags.split(' '),
  words: spansOf(text, ...text.split(' ')),
})

/** `word label` of each served or missing word. */
function labelled(example: Example, served: readonly Span[], of: LabelSpace = space): string[] {
  const { text, words = [], label } = withServedWords(of, example, served)
  return words.map(({ start, end }, at) => `${text.slice(start, end)} ${[label].flat()[at]}`)
}

describe('the labels of served words', () => {
  const text = 'Mary lives in U.S. now'
  const example = tagged(text, 'B-PER O O B-LOC O')

  test('are those of the words of the data, if these are served', () => {
    assert.deepEqual(labelled(example, spansOf(text, 'Mary', 'lives', 'in', 'U.S.', 'now')), [
      ...['Mary B-PER', 'lives O', 'in O', 'U.S. B-LOC', 'now O'],
    ])
  })

  test('continue the label of a word that is served in parts', () => {
    assert.deepEqual(labelled(example, spansOf(text, 'Mary', 'lives', 'in', 'U', '.', 'S', '.', 'now')), [
      ...['Mary B-PER', 'lives O', 'in O', 'U B-LOC', '. I-LOC', 'S I-LOC', '. I-LOC', 'now O'],
    ])
  })

  test('include words that are not served, because the text was cut', () => {
    assert.deepEqual(labelled(example, spansOf(text, 'Mary', 'lives')), [
      ...['Mary B-PER', 'lives O', 'in O', 'U.S. B-LOC', 'now O'],
    ])
  })

  test('are IOB2 for data in any scheme', () => {
    const words = spansOf(text, 'Mary', 'lives', 'in', 'U.S.', 'now')
    for (const tags of ['S-PER O O U-LOC O', 'I-PER O O I-LOC O', 'PER O O LOC O', 'PER-B o o b_LOC O'])
      assert.deepEqual(labelled(tagged(text, tags), words), [
        ...['Mary B-PER', 'lives O', 'in O', 'U.S. B-LOC', 'now O'],
      ])
  })

  test('stay as they are if they do not tag entities', () => {
    const pos: LabelSpace = { problem: 'token_classification', labels: ['NOUN', 'VERB'] }
    assert.deepEqual(
      labelled(tagged('e-mail works', 'NOUN VERB'), spansOf('e-mail works', 'e', '-', 'mail', 'works'), pos),
      [...['e NOUN', '- NOUN', 'mail NOUN', 'works VERB']],
    )
  })

  test('use B-X for parts of words if a task of an earlier version has no I-X', () => {
    const old: LabelSpace = { problem: 'token_classification', labels: ['B-LOC', 'O'] }
    assert.deepEqual(labelled(tagged('U.S.', 'B-LOC'), spansOf('U.S.', 'U.', 'S.'), old), ['U. B-LOC', 'S. B-LOC'])
  })
})

describe('the labels of served words in a text with labelled parts', () => {
  const text = 'Mary-Ann Lee left New York. Paris'
  const spans = spansOf(text, 'Mary-Ann Lee', 'New York', 'Paris').map((span, at) => ({
    ...span,
    label: at === 0 ? 'PER' : 'LOC',
  }))
  const example: Example = { place: 'x', text, label: [], spans }

  test('begin and continue the parts', () => {
    assert.deepEqual(labelled(example, spansOf(text, 'Mary-Ann', 'Lee', 'left', 'New', 'York', '.', 'Paris')), [
      ...['Mary-Ann B-PER', 'Lee I-PER', 'left O', 'New B-LOC', 'York I-LOC', '. O', 'Paris B-LOC'],
    ])
  })

  test('include parts that are not served, because the text was cut', () => {
    assert.deepEqual(labelled(example, spansOf(text, 'Mary-Ann', 'Lee', 'left')), [
      ...['Mary-Ann B-PER', 'Lee I-PER', 'left O', 'New York B-LOC', 'Paris B-LOC'],
    ])
  })

  test('belong to whole words; parts that cut a word are reported', () => {
    const served = spansOf(text, 'Mary-Ann', 'Lee', 'left', 'New', 'York.', 'Paris')
    const cut: Example = { ...example, spans: [{ start: 5, end: 8, label: 'PER' }, ...spans.slice(1)] }
    assert.deepEqual(
      spansThatCutWords(cut, served).map(({ span, word }) => [
        text.slice(span.start, span.end),
        text.slice(word.start, word.end),
      ]),
      [
        ['Ann', 'Mary-Ann'],
        ['New York', 'York.'],
      ],
    )
    assert.deepEqual(labelled(cut, served), [
      ...['Mary-Ann B-PER', 'Lee O', 'left O', 'New B-LOC', 'York. I-LOC', 'Paris B-LOC'],
    ])
    assert.deepEqual(spansThatCutWords(example, spansOf(text, 'Mary-Ann', 'Lee')), [])
  })
})

test('the F1 of entities is that of served spans', () => {
  // A tokenizer that divides names at punctuation and a model that labels their first parts only: no span is right.
  const text = 'Mary left U.S.'
  const example = tagged(text, 'B-PER O B-LOC')
  const score = (served: readonly Span[], predicted: readonly string[]) => {
    const own = withServedWords(space, example, served)
    const evaluation = {
      outputs: new Float64Array(predicted.length * space.labels.length),
      actual: Float32Array.from(problemTraits.token_classification.targets(space, own)),
      predictions: Float32Array.from(predicted, (label) => space.labels.indexOf(label)),
      starts: Int32Array.of(0, predicted.length),
    }
    return scoreOf('span_f1', space, evaluation)
  }
  const parts = spansOf(text, 'Mary', 'left', 'U', '.', 'S', '.')
  assert.equal(score(parts, ['B-PER', 'O', 'B-LOC', 'O', 'O', 'O']), 0.5)
  assert.equal(score(parts, ['B-PER', 'O', 'B-LOC', 'I-LOC', 'I-LOC', 'I-LOC']), 1)
  const rule = { leading: '', trailing: '', inner: false, clitics: [], whole: [] }
  assert.equal(score(wordSpans(text, rule), ['B-PER', 'O', 'B-LOC']), 1)
})
