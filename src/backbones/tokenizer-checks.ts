// Whether tokenizer.json belongs to config.json. A tokenizer of another model, or one that was not saved whole, would fail
// requests or give wrong scores without a sign, so it is refused at start.

import type { Encoding, Tokenizer } from 'tokenizers'
import { Problem, quoted } from '../problem.js'
import type { EncoderConfig } from './families.js'

export interface TokenizerUse {
  /** Path of tokenizer.json, which errors name. */
  readonly file: string
  readonly config: EncoderConfig
  /** Longest row, special tokens included. */
  readonly maxTokens: number
}

/** @throws Problem `invalid_backbone` naming the token, what is wrong with it, and what to do */
export async function checkTokenizer(tokenizer: Tokenizer, { file, config, maxTokens }: TokenizerUse): Promise<void> {
  const throwInvalid: ThrowInvalid = (message) => {
    throw new Problem('invalid_backbone', `${file}: ${message}`)
  }
  checkIds(tokenizer, config.vocab_size, throwInvalid)
  await checkUnknown(tokenizer, throwInvalid)
  await checkSpecialIds(tokenizer, config, throwInvalid)
  const single = await encodeWith(tokenizer, throwInvalid, 'a')
  const pair = await encodeWith(tokenizer, throwInvalid, 'a', 'b')
  checkOrder(tokenizer, config, { single, pair }, throwInvalid)
  for (const encoding of [single, pair]) {
    checkTokens(tokenizer, encoding, throwInvalid)
    checkTypes(encoding, config, throwInvalid)
  }
  const specialTokens = pair.getSequenceIds().filter((sequence) => sequence === null).length
  if (specialTokens >= maxTokens)
    throwInvalid(
      `a pair of texts gets ${specialTokens} special tokens, but a row of the model has room for ${maxTokens} tokens`,
    )
}

type ThrowInvalid = (message: string) => never

const useOwn = 'Use the tokenizer.json that belongs to the model.'

/** Every token needs a row in the table of embeddings, and most rows should have a token. */
function checkIds(tokenizer: Tokenizer, vocabSize: number, throwInvalid: ThrowInvalid): void {
  const count = tokenizer.getVocabSize(true)
  // The whole vocabulary is slow to get. Most have the ids 0, 1, 2, … without a gap: then there are no others.
  const ids = count <= vocabSize && hasAllIds(tokenizer, count) ? [] : Object.entries(tokenizer.getVocab(true))
  const beyond = ids.filter(([, id]) => id >= vocabSize).sort(([, a], [, b]) => a - b)
  const [[token, id] = []] = beyond
  if (token !== undefined)
    throwInvalid(
      `the token ${quoted(token)} has the id ${id}${beyond.length > 1 ? `, and ${beyond.length - 1} more have higher ones` : ''}, ` +
        `but config.json has vocab_size ${vocabSize}, so the model has no embedding for it. ${useOwn} ` +
        'If tokens were added to it, call resize_token_embeddings(len(tokenizer)) on the model and save both again.',
    )
  const highest = ids.reduce((most, [, id]) => Math.max(most, id), count - 1)
  if (highest + 1 < vocabSize / 2)
    throwInvalid(
      `its ids end at ${highest}, but config.json has vocab_size ${vocabSize}: the tokenizer was made for another model. ${useOwn}`,
    )
}

/** Whether each id below `count` is a token's. */
function hasAllIds(tokenizer: Tokenizer, count: number): boolean {
  for (let id = 0; id < count; id++) if (tokenizer.idToToken(id) === null) return false
  return true
}

/** Signs so rare that a vocabulary hardly has them: they stand for every character that is not in it. */
const rareTexts = ['𓀀', 'ꙮ', '⸎', '🜀']

/** Every character must become some token: the unknown one, or bytes. */
async function checkUnknown(tokenizer: Tokenizer, throwInvalid: ThrowInvalid): Promise<void> {
  const normalizer = tokenizer.getNormalizer()
  // A sign that the normalizer removes says nothing about the vocabulary.
  const texts = rareTexts.filter((text) => (normalizer?.normalizeString(text) ?? text).trim() !== '')
  let tokens = 0
  for (const text of texts) {
    const encoding = await tokenizer
      .encode(text, null, { addSpecialTokens: false })
      .catch((error: Error) =>
        throwInvalid(
          `a character that is not in the vocabulary, such as "${text}", fails: ${error.message}. ${useOwn}`,
        ),
      )
    tokens += encoding.getLength()
  }
  if (texts.length > 0 && tokens === 0)
    throwInvalid(
      'characters that are not in the vocabulary are left out, because "model" has neither an unknown token nor ' +
        `bytes to fall back to. ${useOwn}`,
    )
}

/** Special tokens that config.json names must be special tokens here. */
async function checkSpecialIds(
  tokenizer: Tokenizer,
  { special_ids }: EncoderConfig,
  throwInvalid: ThrowInvalid,
): Promise<void> {
  for (const [field, id] of special_ids) {
    const token = tokenizer.idToToken(id)
    // Decoding leaves out special tokens alone.
    if (token !== null && (await tokenizer.decode([id], true)) === '') continue
    throwInvalid(
      `config.json has ${field} ${id}, which is ${token === null ? 'no token' : `the token ${quoted(token)} and not a special one`} here: ` +
        `the tokenizer was made for another model. ${useOwn}`,
    )
  }
}

const encodeWith = (tokenizer: Tokenizer, throwInvalid: ThrowInvalid, text: string, pair?: string): Promise<Encoding> =>
  tokenizer
    .encode(text, pair ?? null)
    .catch((error: Error) => throwInvalid(`it cannot encode "${text}": ${error.message}`))

/** All families learned from texts with a special token at each end, and one or two between the texts of a pair. */
function checkOrder(
  tokenizer: Tokenizer,
  { model_type }: EncoderConfig,
  { single, pair }: Readonly<Record<'single' | 'pair', Encoding>>,
  throwInvalid: ThrowInvalid,
): void {
  const why = tokenizer.getPostProcessor() === null ? ' because there is no "post_processor"' : ''
  const check = (what: string, encoding: Encoding, pattern: RegExp, needed: string) => {
    const sequences = encoding.getSequenceIds().map((sequence) => sequence ?? 's')
    if (pattern.test(sequences.join(''))) return
    const tokens = encoding.getTokens().map((token) => quoted(token))
    throwInvalid(
      `${what} becomes ${tokens.join(' ') || 'no tokens'}${why}, ` +
        `but ${model_type} models need special tokens ${needed}. ${useOwn}`,
    )
  }
  check('a text', single, /^s+0*s+$/, 'before and after it')
  check('a pair of texts', pair, /^s+0*s+1*s+$/, 'before, between and after them')
}

/** The post-processor has ids of its own for the tokens that it adds. */
function checkTokens(tokenizer: Tokenizer, encoding: Encoding, throwInvalid: ThrowInvalid): void {
  const ids = encoding.getIds()
  for (const [at, token] of encoding.getTokens().entries()) {
    if (encoding.getSequenceIds()[at] !== null) continue
    const known = tokenizer.tokenToId(token)
    if (known !== ids[at])
      throwInvalid(
        `"post_processor" gives the special token ${quoted(token)} the id ${ids[at]}, but in the vocabulary it ` +
          `${known === null ? 'is missing' : `is ${known}`}. ${useOwn}`,
      )
  }
}

function checkTypes(encoding: Encoding, { type_vocab_size }: EncoderConfig, throwInvalid: ThrowInvalid): void {
  // With one type or none the model does not look at them.
  if (type_vocab_size < 2) return
  const highest = Math.max(...encoding.getTypeIds())
  if (highest >= type_vocab_size)
    throwInvalid(
      `"post_processor" gives tokens the type ${highest}, but config.json has type_vocab_size ${type_vocab_size}. ${useOwn}`,
    )
}
