// A tokenizer that does not belong to its backbone is rejected when the model loads. Each case changes a valid one.

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
/** A tokenizer that was saved after tokens were added, for a model whose embeddings were not resized. */
const withAdded = (...contents: readonly string[]): Changes => ({
  tokenizer: ({ added_tokens }) => ({
    added_tokens: [...added_tokens, ...contents.map((content, at) => added(content, 90 + at))],
  }),
})
const withModel = (change: Fields): Changes => ({ tokenizer: ({ model }) => ({ model: { ...model, ...change } }) })
/** A vocabulary with another token. */
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

/** A tokenizer without its unknown token. */
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
    'several added tokens without embeddings',
    'xlm-roberta',
    withAdded('<a>', '<b>', '<c>'),
    'the token "<a>" has the id 90, and 2 more have higher',
  ],
  [
    'a token with a far too high id',
    'bert',
    withToken('zz', 5_000),
    'the token "zz" has the id 5000, but config\\.json has vocab_size 90',
  ],
  [
    'more tokens than vocab_size',
    'roberta',
    { config: { vocab_size: 80 } },
    'the token ".*" has the id 80, and 9 more have higher ones, but config\\.json has vocab_size 80',
  ],
  [
    'a vocabulary of less than half of vocab_size',
    'distilbert',
    { config: { vocab_size: 182 } },
    `its highest id is 89, but config\\.json has vocab_size 182\\. The tokenizer was made for another model\\. ${own}`,
  ],
  [
    'an ordinary token with the id eos_token_id',
    'mpnet',
    { config: { eos_token_id: 20 } },
    `config\\.json has eos_token_id 20, but that is the ordinary token ".+"\\. The tokenizer was made for another model\\. ${own}`,
  ],
  [
    'no token with the id bos_token_id',
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
    'an unknown token that is not in the BPE vocabulary',
    'roberta',
    withModel({ unk_token: '<none>' }),
    'such as .*`<none>` not found',
  ],
  [
    'neither an unknown token nor all bytes in BPE',
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
    'no special token after a text',
    'distilbert',
    withPostProcessor(template([cls, 'A'], [cls, 'A', sep, 'B', sep])),
    'a text becomes "\\[CLS\\]" "a", but distilbert models need',
  ],
  [
    'no special token before a text',
    'electra',
    withPostProcessor(template(['A', sep], [cls, 'A', sep, 'B', sep])),
    'a text becomes "a" "\\[SEP\\]", but electra models need',
  ],
  [
    'no special token between two texts',
    'bert',
    withPostProcessor(template([cls, 'A', sep], [cls, 'A', 'B', sep])),
    'a pair of texts becomes "\\[CLS\\]" "a" "b" "\\[SEP\\]", but bert models need special tokens before, between and after them',
  ],
  [
    'the second text of a pair first',
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
    'as many special tokens as the model takes tokens',
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

describe('a tokenizer is accepted', () => {
  const tokensOf = async (tokenizer: TextTokenizer) => {
    const { encoding } = await tokenizer.encode({ text: 'a', textPair: 'b' })
    return encoding.getTokens().join(' ')
  }

  test('of every family, and of the bundled model', async () => {
    for (const directory of [...tinyBackbones.map(directoryOf), modelDir]) await opened(directory)
  })

  const valid: [what: string, name: ModelType, changes: Changes, tokens: string][] = [
    [
      'whose special tokens have the names of another family',
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
      'with fewer tokens than embeddings, because vocabularies are padded',
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
    ['with two tokens of the same id', 'bert', withToken('zz', 5), '[CLS] a [SEP] b [SEP]'],
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
      'with token types for a model that has one type',
      'bert',
      { ...withPostProcessor(whole), config: { type_vocab_size: 1 } },
      '[CLS] a [SEP] b [SEP]',
    ],
    [
      'with token types for a model that has none',
      'distilbert',
      withPostProcessor(template([cls, 'A', sep], [cls, 'A', sep, 'B', sep], 7)),
      '[CLS] a [SEP] b [SEP]',
    ],
    [
      'whose normalizer removes rare characters',
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
      'for a BERT whose config has the bos_token_id of another model',
      'bert',
      { config: { bos_token_id: 40, eos_token_id: 41 } },
      '[CLS] a [SEP] b [SEP]',
    ],
    [
      'for a RoBERTa whose config names no special tokens',
      'roberta',
      { config: { bos_token_id: null, eos_token_id: undefined } },
      '<s> a </s> </s> b </s>',
    ],
  ]
  for (const [what, name, changes, tokens] of valid)
    test(what, async () => {
      assert.equal(await tokensOf(await opened(await changed(name, changes))), tokens)
    })

  test('with all bytes in BPE, which needs no unknown token', async () => {
    // The alphabet of ByteLevel: a printable byte is its own character, the others become characters from 256.
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

  test('and truncates texts to the given limit or to what the model takes, whichever is less', async () => {
    const maxTokens = async (limit?: number) => (await opened(directoryOf('bert'), limit)).maxTokens
    assert.deepEqual([await maxTokens(), await maxTokens(9), await maxTokens(1_000)], [24, 9, 24])
  })
})

describe('the tokenizer of another model is rejected', () => {
  const bundled = join(modelDir, 'tokenizer.json')
  const cases: [what: string, name: ModelType, file: string, config: Fields, message: RegExp][] = [
    ['a BERT with more tokens', 'bert', bundled, {}, /the token ".+" has the id 90, and 30431 more have higher ones/],
    [
      'a BERT with far fewer tokens',
      'bert',
      '',
      { vocab_size: 119_547 },
      /its highest id is 89, .*was made for another model/,
    ],
    [
      'a BERT tokenizer with an MPNet, which has five more tokens',
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
