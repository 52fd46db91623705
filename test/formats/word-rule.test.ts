// The words of a text by a rule, and the rule that words of data show.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { WordEvidence } from '../../src/data/word-evidence.js'
import { defaultWordRule, type WordRule, wordRuleLimits, wordSpans } from '../../src/formats/word-rule.js'

const words = (text: string, rule: WordRule = defaultWordRule) =>
  wordSpans(text, rule).map(({ start, end }) => text.slice(start, end))

/** The rule of sentences whose words are separated by spaces. */
function ruleOf(...sentences: string[]): WordRule {
  const evidence = new WordEvidence()
  for (const sentence of sentences) evidence.add(sentence.split(' '))
  return evidence.rule
}

const repeated = (count: number, ...sentences: string[]) => Array.from({ length: count }, () => sentences).flat()

describe('words by the default rule', () => {
  test('are separate from brackets, quotes and the punctuation of sentences', () => {
    assert.deepEqual(words('He works at Coca-Cola, in the U.S.'), [
      ...['He', 'works', 'at', 'Coca-Cola', ',', 'in', 'the', 'U.S.'],
    ])
    assert.deepEqual(words('"No!" (said O\'Brien)...'), ['"', 'No', '!', '"', '(', 'said', "O'Brien", ')', '...'])
    assert.deepEqual(words('AT&T rose 3.5% to $1,000.25.'), ['AT&T', 'rose', '3.5%', 'to', '$1,000.25', '.'])
  })

  test('keep the periods of letters that each have one', () => {
    assert.deepEqual(words('J.R. Smith of the U.S., i.e. him.'), [
      ...['J.R.', 'Smith', 'of', 'the', 'U.S.', ',', 'i.e.', 'him', '.'],
    ])
  })

  test('never end before a combining mark', () => {
    for (const text of ['Andre\u0301 met Zoe\u0308', 'मैं दिल्ली में रहता हूँ', 'جاء أحمدُ', 'שָׁלוֹםָ רב', 'I ❤️ 1️⃣ now'])
      assert.deepEqual(words(text), text.split(' '))
    assert.deepEqual(words('(Zoe\u0308)\u0301'), ['(', 'Zoe\u0308', ')\u0301'])
  })

  test('have UTF-16 offsets, and no control or format characters at their edges', () => {
    assert.deepEqual(wordSpans('😀 \u200fTom\u200e\u0000', defaultWordRule), [
      { start: 0, end: 2 },
      { start: 4, end: 7 },
    ])
    assert.deepEqual(words('Anna\u00a0Lopez\u2009in\u2028Lima\t\u200b'), ['Anna', 'Lopez', 'in', 'Lima'])
    assert.deepEqual(words(' \u200b \t'), [])
  })

  test('together are the whole text without white space', () => {
    const text = 'a(b "c.d." \'e\' (("f")) ... g! ¿h? «i» [j], k;; @l #m n/o p—q 𝓟𝓪, 👍🏽ok👍🏽.'
    const spans = wordSpans(text, { ...defaultWordRule, clitics: ["'s"], whole: ['g!'] })
    assert.equal(spans.map(({ start, end }) => text.slice(start, end)).join(''), text.replace(/\s+/g, ''))
    assert.ok(spans.every(({ start, end }, at) => start < end && (spans[at - 1]?.end ?? 0) <= start))
  })
})

test('a long run of different punctuation is not divided to its end', () => {
  const text = `${'([['.repeat(5_000)}a${')]'.repeat(5_000)}`
  const found = words(text)
  assert.equal(found.join(''), text)
  assert.equal(found.length, 65)
})

describe('the rule of words of data', () => {
  test('separates punctuation that is a word of its own, and clitics, but not abbreviations', () => {
    const rule = ruleOf(
      ...repeated(3, "John 's U.S. friend , Mr. Bo ( of St. Ives ) , paid $ 5 .", '" No , " it is n\'t so .', 'Mr. Bo'),
    )
    assert.deepEqual(words("Mr. Smith's aide (in St. Ives) paid $7, isn’t it.", rule), [
      ...['Mr.', 'Smith', "'s", 'aide', '(', 'in', 'St.', 'Ives', ')', 'paid', '$', '7', ',', 'is', 'n’t', 'it', '.'],
    ])
  })

  test('keeps punctuation on words if the data does', () => {
    const rule = ruleOf(
      'I live in Paris.',
      'Paris is nice, Bob said.',
      'Bob, nice Rome',
      'In Rome. We said',
      'In Rome, we',
    )
    assert.deepEqual(words('Go to Berlin. Now, Bob (him)', rule), [
      'Go',
      'to',
      'Berlin.',
      'Now,',
      'Bob',
      '(',
      'him',
      ')',
    ])
  })

  test('keeps punctuation that belongs to names', () => {
    const rule = ruleOf(...repeated(3, 'Yahoo! left St. Louis', 'Procter & Gamble met AT&T in the U.S.'))
    assert.deepEqual(words('Did Yahoo!, of St. Louis, meet AT&T?', rule), [
      ...['Did', 'Yahoo!', ',', 'of', 'St.', 'Louis', ',', 'meet', 'AT&T', '?'],
    ])
  })

  test('divides words everywhere if the data does', () => {
    const rule = ruleOf(...repeated(10, "Coca - Cola , in the U . S . ' s best year ."))
    assert.equal(rule.inner, true)
    assert.deepEqual(words('Coca-Cola (U.S.) Zoe\u0308!\u0301', rule), [
      ...['Coca', '-', 'Cola', '(', 'U', '.', 'S', '.', ')', 'Zoe\u0308', '!\u0301'],
    ])
  })

  test('separates elided articles if the data does', () => {
    const rule = ruleOf(...repeated(2, "l' Europe et d' autres", "qu' il"))
    assert.deepEqual(words("L'Europe qu’elle d'aujourd'hui", rule), [
      "L'",
      'Europe',
      'qu’',
      'elle',
      "d'",
      "aujourd'hui",
    ])
  })

  test('comes from what touches labelled spans from outside', () => {
    const evidence = new WordEvidence()
    const text = "He left Yahoo! for Coca-Cola's office, in the U.S., said Bo (of $Bo)."
    const names = ['Yahoo!', 'Coca-Cola', 'U.S.', 'Bo']
    for (let i = 0; i < 3; i++)
      evidence.addSpans(
        text,
        names.map((name) => ({ start: text.indexOf(name), end: text.indexOf(name) + name.length })),
      )
    assert.deepEqual(words("Did Bo's firm buy Yahoo!?", evidence.rule), [
      'Did',
      'Bo',
      "'s",
      'firm',
      'buy',
      'Yahoo!',
      '?',
    ])
  })

  test('is bounded, and divides each word of the data in its way', () => {
    const evidence = new WordEvidence()
    const own = Array.from({ length: 2_000 }, (_, i) => `St${i}.`)
    evidence.add([...own, ...own.slice(0, 100)])
    evidence.add(['.', '.', 'end'])
    const { rule } = evidence
    assert.equal(rule.whole.length, wordRuleLimits.whole)
    // The most frequent ones stay whole.
    for (const word of own.slice(0, 100)) assert.deepEqual(words(word, rule), [word])
  })
})
