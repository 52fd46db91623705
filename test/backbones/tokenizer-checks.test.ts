// A tokenizer that does not belong to its backbone is rejected when the model is loaded. Each is made from a sound one.

import assert from 'node:assert/strict'
import { copyFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { readBackbone } from '../../src/backbones/backbone.js'
import type { ModelType } from '../../src/backbones/families.js'
import { TextTokenizer } from '../../src/backbones/tokenizer.js'
import { loadModel } from '../../src/learn/model.js'
import { modelDir } from '../material.js'
import { changeJson, copyOf, directoryOf, type Fields, tinyBackbones } from './tiny.js'

interface TokenizerFile {
  readonly model: Fields & { readonly vocab: Record<string, number> | [string, number][] }
  readonly added_tokens: readonly (Fields & { readonly content: string })[]
  readonly post_processor: Fields | null
  readonly normalizer: Fields | null
}

interface Changes {
  readonly tokenizer?: (file: TokenizerFile) => object
  readonly config?: Fields
}

async function changed(name: ModelType, { tokenizer, config }: Changes): Promise<string> {
  const directory = await copyOf(name)
  if (tokenizer)
    await changeJson(directory, 'tokenizer.json', (file) => ({
      ...file,
      ...tokenizer(file as unknown as TokenizerFile),
    }))
  if (config) await changeJson(directory, 'config.json', (fields) => ({ ...fields, ...config }))
  return directory
}

const opened = async (directory: string, limit?: number) => TextTokenizer.open(await readBackbone(directory), limit)

const added = (content: string, id: number, special = false) => {
  return { id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special }
}
/** What adding tokens and saving gives, if the embeddings were not resized. */
const withAdded = (...contents: readonly string[]): Changes => ({
  tokenizer: ({ added_tokens }) => ({
    added_tokens: [...added_tokens, ...contents.map((content, at) => added(content, 90 + at))],
  }),
})
const withModel = (change: Fields): Changes => ({ tokenizer: ({ model }) => ({ model: { ...model, ...change } }) })
/** Another entry in a vocabulary of ids by token. */
const withToken = (token: string, id: number): Changes => ({
  tokenizer: ({ model }) => ({ model: { ...model, vocab: { ...model.vocab, [token]: id } } }),
})
const withPostProcessor = (post_processor: Fields | null): Changes => ({ tokenizer: () => ({ post_processor }) })

type Piece = readonly [token: string, type: number] | 'A' | 'B'
const template = (single: readonly Piece[], pair: readonly Piece[], typeOfB = 1): Fields => {
  const ids: Readonly<Record<string, number>> = { '[CLS]': 2, '[SEP]': 3 }
  const pieces = (list: readonly Piece[]) =>
    list.map((piece) =>
      typeof piece === 'string'
        ? { Sequence: { id: piece, type_id: piece === 'B' ? typeOfB : 0 } }
        : { SpecialToken: { id: piece[0], type_id: piece[1] } },
    )
  return {
    type: 'TemplateProcessing',
    single: pieces(single),
    pair: pieces(pair),
    special_tokens: Object.fromEntries(
      Object.entries(ids).map(([token, id]) => [token, { id: token, ids: [id], tokens: [token] }]),
    ),
  }
}
const [cls, sep] = [
  ['[CLS]', 0],
  ['[SEP]', 0],
] as const
const whole = template([cls, 'A', sep], [cls, 'A', sep, 'B', sep])

/** Without its unknown token. */
const withoutUnknown: Changes = {
  tokenizer: ({ model, added_tokens }) => ({
    model: {
      ...model,
      vocab: Object.fromEntries(Object.entries(model.vocab).filter(([token]) => token !== '[UNK]')),
    },
    added_tokens: added_tokens.filter(({ content }) => content !== '[UNK]'),
  }),
}

const own = 'Use the tokenizer\\.json that belongs to the model\\.'
const rejected: [what: string, name: ModelType, changes: Changes, message: string][] = [
  [
    'an added token without an embedding',
    'bert',
    withAdded('<url>'),
    `tokenizer\\.json: the token "<url>" has the id 90, but config\\.json has vocab_size 90, .*${own} .*resize_token_embeddings`,
  ],
  [
    'several of them',
    'xlm-roberta',
    withAdded('<a>', '<b>', '<c>'),
    'the token "<a>" has the id 90, and 2 more have higher',
  ],
  [
    'a token far beyond',
    'bert',
    withToken('zz', 5_000),
    'the token "zz" has the id 5000, but config\\.json has vocab_size 90',
  ],
  [
    'a smaller vocab_size',
    'roberta',
    { config: { vocab_size: 80 } },
    'the token ".*" has the id 80, and 9 more have higher ones, but config\\.json has vocab_size 80',
  ],
  [
    'a vocabulary of less than half the size',
    'distilbert',
    { config: { vocab_size: 182 } },
    `its highest id is 89, but config\\.json has vocab_size 182\\. The tokenizer was made for another model\\. ${own}`,
  ],
  [
    'an eos_token_id that is an ordinary token here',
    'mpnet',
    { config: { eos_token_id: 20 } },
    `config\\.json has eos_token_id 20, but that is the ordinary token ".+"\\. The tokenizer was made for another model\\. ${own}`,
  ],
  [
    'a bos_token_id that is no token here',
    'roberta',
    { config: { bos_token_id: 5_000 } },
    'config\\.json has bos_token_id 5000, but the tokenizer has no such id\\. The tokenizer was made for another model',
  ],
  [
    'no unknown token in WordPiece',
    'bert',
    withoutUnknown,
    `not in the vocabulary, such as .*Missing \\[UNK\\].*${own}`,
  ],
  [
    'no unknown token in WordLevel',
    'bert',
    {
      tokenizer: ({ model }) => ({ model: { type: 'WordLevel', vocab: model.vocab, unk_token: '<none>' } }),
    },
    'not in the vocabulary, such as .*WordLevel error',
  ],
  ['no unknown token in Unigram', 'xlm-roberta', withModel({ unk_id: null }), 'such as .*`unk_id` is missing'],
  [
    'an unknown token that BPE does not have',
    'roberta',
    withModel({ unk_token: '<none>' }),
    'such as .*`<none>` not found',
  ],
  [
    'no unknown token and not all bytes in BPE',
    'roberta',
    withModel({ unk_token: null }),
    'it drops characters that are not in the vocabulary, because "model" has neither an unknown token nor bytes',
  ],
  [
    'no post_processor',
    'bert',
    withPostProcessor(null),
    `a text becomes "a" because there is no "post_processor", but bert models need special tokens before and after it\\. ${own}`,
  ],
  [
    'a post_processor that adds nothing',
    'roberta',
    withPostProcessor({ type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true }),
    'a text becomes "a", but roberta models need special tokens before and after',
  ],
  [
    'nothing behind a text',
    'distilbert',
    withPostProcessor(template([cls, 'A'], [cls, 'A', sep, 'B', sep])),
    'a text becomes "\\[CLS\\]" "a", but distilbert models need',
  ],
  [
    'nothing before a text',
    'electra',
    withPostProcessor(template(['A', sep], [cls, 'A', sep, 'B', sep])),
    'a text becomes "a" "\\[SEP\\]", but electra models need',
  ],
  [
    'nothing between two texts',
    'bert',
    withPostProcessor(template([cls, 'A', sep], [cls, 'A', 'B', sep])),
    'a pair of texts becomes "\\[CLS\\]" "a" "b" "\\[SEP\\]", but bert models need special tokens before, between and after them',
  ],
  [
    'the second text first',
    'bert',
    withPostProcessor(template([cls, 'A', sep], [cls, 'B', sep, 'A', sep])),
    'a pair of texts becomes "\\[CLS\\]" "b"',
  ],
  [
    'another id for a special token',
    'bert',
    withPostProcessor({ type: 'BertProcessing', sep: ['[SEP]', 3], cls: ['[CLS]', 101] }),
    '"post_processor" gives the special token "\\[CLS\\]" the id 101, but in the vocabulary it has the id 2\\.',
  ],
  [
    'a special token that is not in the vocabulary',
    'bert',
    withPostProcessor({ type: 'BertProcessing', sep: ['</s>', 3], cls: ['[CLS]', 2] }),
    '"post_processor" gives the special token "</s>" the id 3, but in the vocabulary it is missing\\.',
  ],
  [
    'a token type that the model does not have',
    'bert',
    withPostProcessor(template([cls, 'A', sep], [cls, 'A', sep, 'B', sep], 2)),
    '"post_processor" gives tokens the type 2, but config\\.json has type_vocab_size 2\\.',
  ],
  [
    'special tokens that fill a row',
    'bert',
    { config: { max_position_embeddings: 3 } },
    'a pair of texts gets 3 special tokens, but the model takes at most 3 tokens',
  ],
]

describe('a tokenizer is rejected that has', () => {
  for (const [what, name, changes, message] of rejected)
    test(what, async () => {
      const expected = { name: 'Problem', code: 'invalid_backbone', message: new RegExp(message) }
      const directory = await changed(name, changes)
      await assert.rejects(opened(directory), expected)
      await assert.rejects(loadModel(directory), expected)
    })
})

describe('a tokenizer is taken', () => {
  const tokensOf = async (tokenizer: TextTokenizer) => {
    const { encoding } = await tokenizer.encode({ text: 'a', textPair: 'b' })
    return encoding.getTokens().join(' ')
  }

  test('of every family, and of the bundled model', async () => {
    for (const directory of [...tinyBackbones.map(directoryOf), modelDir]) await opened(directory)
  })

  const sound: [what: string, name: ModelType, changes: Changes, tokens: string][] = [
    [
      'whose special tokens are called as in another family',
      'bert',
      {
        tokenizer: ({ model, added_tokens }) => {
          const named = (token: string) => ({ '[CLS]': '<s>', '[SEP]': '</s>' })[token] ?? token
          return {
            model: {
              ...model,
              vocab: Object.fromEntries(Object.entries(model.vocab).map(([token, id]) => [named(token), id])),
            },
            added_tokens: added_tokens.map((token) => ({ ...token, content: named(token.content) })),
            post_processor: { type: 'BertProcessing', sep: ['</s>', 3], cls: ['<s>', 2] },
          }
        },
      },
      '<s> a </s> b </s>',
    ],
    ['with two separators between two texts', 'xlm-roberta', {}, '<s> ▁ a </s> </s> ▁ b </s>'],
    [
      'with fewer tokens than embeddings, as vocabularies are padded',
      'bert',
      { config: { vocab_size: 96 } },
      '[CLS] a [SEP] b [SEP]',
    ],
    [
      'with gaps between its ids',
      'bert',
      { ...withToken('zz', 95), config: { vocab_size: 96 } },
      '[CLS] a [SEP] b [SEP]',
    ],
    ['with two tokens of one id', 'bert', withToken('zz', 5), '[CLS] a [SEP] b [SEP]'],
    [
      'with an added token that has an embedding',
      'bert',
      { ...withAdded('<url>'), config: { vocab_size: 91 } },
      '[CLS] a [SEP] b [SEP]',
    ],
    [
      'without a token for padding',
      'bert',
      {
        tokenizer: ({ model, added_tokens }) => ({
          model: {
            ...model,
            vocab: Object.fromEntries(Object.entries(model.vocab).filter(([token]) => token !== '[PAD]')),
          },
          added_tokens: added_tokens.filter(({ content }) => content !== '[PAD]'),
        }),
      },
      '[CLS] a [SEP] b [SEP]',
    ],
    [
      'with types of tokens where the model has one',
      'bert',
      { ...withPostProcessor(whole), config: { type_vocab_size: 1 } },
      '[CLS] a [SEP] b [SEP]',
    ],
    [
      'with types of tokens where the model has none',
      'distilbert',
      withPostProcessor(template([cls, 'A', sep], [cls, 'A', sep, 'B', sep], 7)),
      '[CLS] a [SEP] b [SEP]',
    ],
    [
      'whose normalizer leaves out all that is rare',
      'bert',
      {
        ...withoutUnknown,
        tokenizer: (file) => ({
          ...withoutUnknown.tokenizer?.(file),
          normalizer: { type: 'Replace', pattern: { Regex: '[^ab]' }, content: '' },
        }),
      },
      '[CLS] a [SEP] b [SEP]',
    ],
    [
      "of a BERT whose config has another model's bos_token_id",
      'bert',
      { config: { bos_token_id: 40, eos_token_id: 41 } },
      '[CLS] a [SEP] b [SEP]',
    ],
    [
      'of a RoBERTa whose config names no special tokens',
      'roberta',
      { config: { bos_token_id: null, eos_token_id: undefined } },
      '<s> a </s> </s> b </s>',
    ],
  ]
  for (const [what, name, changes, tokens] of sound)
    test(what, async () => {
      assert.equal(await tokensOf(await opened(await changed(name, changes))), tokens)
    })

  test('with all bytes in BPE, which needs no unknown token', async () => {
    // The alphabet of ByteLevel: printable bytes stand for themselves, the others are moved beyond 255.
    const printable = (byte: number) => (byte > 32 && byte < 127) || (byte > 160 && byte < 256 && byte !== 173)
    let moved = 256
    const alphabet = Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : moved++))
    const special = ['<s>', '<pad>', '</s>', '<unk>', '<mask>']
    const vocab = Object.fromEntries([...special, ...alphabet].map((token, id) => [token, id]))
    const directory = await changed('roberta', {
      tokenizer: ({ model }) => ({ model: { ...model, unk_token: null, vocab, merges: [] } }),
      config: { vocab_size: 261 },
    })
    assert.equal(await tokensOf(await opened(directory)), '<s> a </s> </s> b </s>')
  })

  test('and cuts to the limit that it is opened with, or to what the model takes if that is less', async () => {
    const maxTokens = async (limit?: number) => (await opened(directoryOf('bert'), limit)).maxTokens
    assert.deepEqual([await maxTokens(), await maxTokens(9), await maxTokens(1_000)], [24, 9, 24])
  })
})

describe("another model's tokenizer is rejected", () => {
  const bundled = join(modelDir, 'tokenizer.json')
  const cases: [what: string, name: ModelType, file: string, config: Fields, message: RegExp][] = [
    ['a BERT of more tokens', 'bert', bundled, {}, /the token ".+" has the id 90, and 30431 more have higher ones/],
    [
      'a BERT of far fewer tokens',
      'bert',
      '',
      { vocab_size: 119_547 },
      /its highest id is 89, .*was made for another model/,
    ],
    [
      "a BERT's under an MPNet, which has five tokens more",
      'mpnet',
      bundled,
      { vocab_size: 30_527 },
      /config\.json has eos_token_id 2, but that is the ordinary token "\[unused1\]"\. The tokenizer was made for another model/,
    ],
  ]
  for (const [what, name, file, config, message] of cases)
    test(what, async () => {
      const directory = await changed(name, { config })
      if (file !== '') await copyFile(file, join(directory, 'tokenizer.json'))
      await assert.rejects(opened(directory), { code: 'invalid_backbone', message })
    })
})
