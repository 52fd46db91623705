// Words and entities of texts, with tokenizers of several families.

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { Tokenizer } from 'tokenizers'
import { splitWords } from '../../src/backbones/words.js'
import { defaultWordRule, type WordRule } from '../../src/formats/word-rule.js'
import { finish } from '../../src/steps.js'
import { labelWords } from '../../src/tasks/words.js'
import { distance, modelDir } from '../material.js'

const bert = Tokenizer.fromFile(join(modelDir, 'tokenizer.json'))
bert.disablePadding()
bert.disableTruncation()

const made = (preTokenizer: object | null, model: object, postProcessor: object | null = null) =>
  Tokenizer.fromString(
    JSON.stringify({
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: [],
      normalizer: null,
      pre_tokenizer: preTokenizer,
      post_processor: postProcessor,
      decoder: null,
      model,
    }),
  )
const byteLevel = (trim: boolean) => {
  const part = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: trim, use_regex: true }
  const vocab = Object.fromEntries(['Ġ', 'a', 'b', 'Ã', '¼', 'Ġa', 'ab'].map((token, id) => [token, id]))
  return made(part, { type: 'BPE', vocab, merges: ['Ġ a', 'a b'] }, part)
}
const unigram = (preTokenizer: object | null) => {
  const vocab = Object.entries({ '<unk>': 0, '▁': -2, a: -3, b: -3, '▁a': -2.5, ab: -4 })
  return made(preTokenizer, { type: 'Unigram', unk_id: 0, vocab, byte_fallback: false })
}
const metaspace = (split: boolean) => ({ type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split })

const found = async (tokenizer: Tokenizer, text: string) =>
  splitWords(text, await tokenizer.encode(text)).map(({ token, start, end }) => [text.slice(start, end), start, token])

describe('words of a text', () => {
  test('are the words of a WordPiece tokenizer, with UTF-16 offsets', async () => {
    assert.deepEqual(await found(bert, 'é😀 U.S. unbelievableness'), [
      ['é😀', 0, 1],
      ['U', 4, 2],
      ['.', 5, 3],
      ['S', 6, 4],
      ['.', 7, 5],
      ['unbelievableness', 9, 6],
    ])
  })

  for (const trim of [false, true])
    test(`have no whitespace with a byte-level tokenizer, trim_offsets ${trim}`, async () => {
      // Tokens: ab, Ġ, Ġa, b, Ġ, Ã, ¼, Ġa
      assert.deepEqual(await found(byteLevel(trim), 'ab  ab ü a'), [
        ['ab', 0, 0],
        ['ab', 4, 2],
        ['ü', 7, 5],
        ['a', 9, 7],
      ])
    })

  for (const [name, preTokenizer] of Object.entries({ splits: metaspace(true), 'does not split': metaspace(false) }))
    test(`have no whitespace with a Unigram tokenizer that ${name} at whitespace`, async () => {
      // Tokens: ▁a, b, ▁, ▁a, ▁, z, b
      assert.deepEqual(await found(unigram(preTokenizer), 'ab  a zb'), [
        ['ab', 0, 0],
        ['a', 4, 3],
        ['zb', 6, 5],
      ])
    })

  test('are split at whitespace if the tokenizer has no words', async () => {
    assert.deepEqual(await found(unigram(null), 'ab a zb'), [
      ['ab', 0, 0],
      ['a', 3, 2],
      ['zb', 5, 3],
    ])
  })
})

/** What is at fault without a rule is that a tokenizer divides names at punctuation. */
describe('words by a rule', () => {
  const byRule = async (text: string, rule: WordRule = defaultWordRule, tokenizer = bert) =>
    splitWords(text, await tokenizer.encode(text), 0, rule).map(({ token, start, end }) => [
      text.slice(start, end),
      token,
    ])

  test('are whole, and each has its first token', async () => {
    // [CLS] j . r . o ' brien of coca - cola , in the u . s . [SEP]
    assert.deepEqual(await byRule("J.R. O'Brien of Coca-Cola, in the U.S."), [
      ['J.R.', 1],
      ["O'Brien", 5],
      ['of', 8],
      ['Coca-Cola', 9],
      [',', 12],
      ['in', 13],
      ['the', 14],
      ['U.S.', 15],
    ])
  })

  test('are those with a token: cut words and dropped characters have none', async () => {
    const encoding = await bert.encode('in Coca-Cola \u200b of U.S.')
    encoding.truncate(4, 0, 'right')
    // The kept tokens are [CLS] in coca -
    const words = splitWords('in Coca-Cola \u200b of U.S.', encoding, 0, defaultWordRule)
    assert.deepEqual(words, [
      { token: 1, start: 0, end: 2 },
      { token: 2, start: 3, end: 12 },
    ])
  })

  test('never end before a combining mark', async () => {
    const texts = [
      ...['Tom met Andr\u0065\u0301 in Paris', 'Paris welcomed Zoe\u0308', 'राम सपने में आए', 'جاء أحمدُ'],
      ...['I ❤\ufe0f Paris', 'press 1\ufe0f\u20e3 now', 'שָׁלוֹםָ רב', 'T\u0336\u0321o\u0334m in Lima'],
    ]
    for (const text of texts) {
      const encoding = await bert.encode(text)
      for (const rule of [defaultWordRule, undefined])
        for (const { start, end } of splitWords(text, encoding, 0, rule)) {
          assert.doesNotMatch(text.slice(end), /^\p{M}/u, text)
          assert.doesNotMatch(text.slice(start), /^\p{M}/u, text)
        }
      assert.deepEqual(
        (await byRule(text)).map(([word]) => word),
        text.split(' '),
      )
    }
  })

  test('are single tokens in scripts without spaces', async () => {
    const words = async (text: string) => (await byRule(text)).map(([word]) => word)
    assert.deepEqual(await words('Tom住在北京and Anna'), ['Tom', '住', '在', '北', '京', 'and', 'Anna'])
    assert.deepEqual(await words('东京,日本 (北京)'), ['东', '京', ',', '日', '本', '(', '北', '京', ')'])
  })

  test('do not begin inside a token that is the first of another word', async () => {
    const vocab = { '[UNK]': 0, 'a,': 1, b: 2 }
    const whole = made({ type: 'WhitespaceSplit' }, { type: 'WordLevel', vocab, unk_token: '[UNK]' })
    assert.deepEqual(await byRule('a, b', defaultWordRule, whole), [
      ['a,', 0],
      ['b', 1],
    ])
  })

  for (const [name, tokenizer] of Object.entries({
    'byte-level': byteLevel(false),
    'byte-level with trimmed offsets': byteLevel(true),
    Unigram: unigram(metaspace(true)),
  }))
    test(`have no whitespace with a ${name} tokenizer`, async () => {
      const words = (await byRule('ab  a ab', defaultWordRule, tokenizer)).map(([word]) => word)
      assert.deepEqual(words, ['ab', 'a', 'ab'])
    })

  test('have the offsets of JavaScript strings in all scripts', async () => {
    const texts = [
      ...[
        'I ❤️ Paris 🗼 and 👩‍👩‍👧‍👦 live in New York',
        '🇫🇷🇩🇪 match in Lima',
        'Ame\u0301lie Poulain in Sa\u0303o Paulo',
      ],
      ...[
        'मैं दिल्ली में रहता हूँ',
        'يعيش أحمدُ في القاهرة',
        'דָּוִד גר בתל אביב',
        '𝐀𝐧𝐧𝐚 lives in 𝓟𝓪𝓻𝓲𝓼',
        'Anna\u200bLopez in\u00a0New\u2009York',
      ],
      ...[
        '\u200fTom\u200e in Lima\u202c',
        'ﬁnance ﬀ Straße İstanbul',
        '\t Tom \r\n\r\n Baker\u2028in\u2029Lima ',
        '김철수는 서울에 산다',
        'a😀b 😀😀 c',
      ],
      ...[
        'see https://example.com/a?b=c#d now',
        'Tom_Baker in New_York',
        'Tom\u0000 Ba\u0007ker in Li\u00admar',
        '田中さんは東京に住んでいます',
      ],
    ]
    for (const text of texts) {
      const encoding = await bert.encode(text)
      const points = [...text]
      const tokenStarts = encoding.getOffsets().map(([from = 0]) => points.slice(0, from).join('').length)
      const words = splitWords(text, encoding, 0, defaultWordRule)
      assert.ok(words.length > 0)
      let last = 0
      for (const { token, start, end } of words) {
        assert.ok(start >= last && end > start && end <= text.length, text)
        last = end
        const word = text.slice(start, end)
        assert.doesNotMatch(word, /\s/)
        const first = tokenStarts[token] ?? -1
        assert.ok(first >= start && first < end, `the first token of ${JSON.stringify(word)} begins in it`)
      }
    }
  })
})

describe('labelled words', () => {
  /** Hidden states for which the logit of the label of each token is 4, and 0 for the others. */
  async function label(labels: readonly string[], text: string, ofTokens: readonly string[]) {
    const C = labels.length
    const encoding = await bert.encode(text)
    const hidden = new Float32Array(encoding.getLength() * C)
    for (const [at, name] of ofTokens.entries()) hidden[(at + 1) * C + labels.indexOf(name)] = 4
    const weight = Float32Array.from({ length: C * C }, (_, i) => (i % (C + 1) === 0 ? 1 : 0))
    const head = { output: { inputs: C, outputs: C, weight, bias: new Float32Array(C) } }
    const task = { labels, head }
    return (rawScores: boolean) => finish(labelWords(task, text, splitWords(text, encoding), hidden, { rawScores }))
  }

  test('are joined into entities by B- and I- labels, with offsets in the text', async () => {
    const labels = ['O', 'B-PER', 'I-PER', 'B-LOC']
    const text = '😀 Ada  Lovelace (London)'
    // "Lovelace" is two tokens; only the first counts.
    const answer = await label(labels, text, ['O', 'B-PER', 'I-PER', 'B-LOC', 'O', 'B-LOC', 'O'])
    const { words, entities = [] } = answer(false)
    assert.deepEqual(
      words.map((word) => [word.text, word.label]),
      [
        ['😀', 'O'],
        ['Ada', 'B-PER'],
        ['Lovelace', 'I-PER'],
        ['(', 'O'],
        ['London', 'B-LOC'],
        [')', 'O'],
      ],
    )
    assert.deepEqual(
      entities.map(({ label, text, start, end }) => ({ label, text, start, end })),
      [
        { label: 'PER', text: 'Ada  Lovelace', start: 3, end: 16 },
        { label: 'LOC', text: 'London', start: 18, end: 24 },
      ],
    )
    // exp(4) against three times exp(0)
    const probability = Math.exp(4) / (Math.exp(4) + 3)
    assert.ok(
      distance(
        entities.map(({ score }) => score),
        [probability, probability],
      ) < 1e-9,
    )
    assert.deepEqual(
      answer(true).entities?.map(({ score }) => score),
      [4, 4],
    )
  })

  test('form entities whose score is the mean score of their words', async () => {
    const { words, entities = [] } = (await label(['O', 'B-X', 'I-X'], 'one two', ['B-X', 'I-X']))(false)
    const [first = 0, second = 0] = words.map(({ score }) => score)
    assert.equal(entities.length, 1)
    assert.ok(Math.abs((entities[0]?.score ?? 0) - (first + second) / 2) < 1e-12)
  })

  test('form no entities if the labels mark none', async () => {
    const { words, entities } = (await label(['NOUN', 'VERB'], 'dogs bark', ['NOUN', 'VERB']))(false)
    assert.deepEqual(
      words.map((word) => word.label),
      ['NOUN', 'VERB'],
    )
    assert.equal(entities, undefined)
  })
})
