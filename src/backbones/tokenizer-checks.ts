// Checks that tokenizer.json belongs to config.json. A tokenizer of another model, or an incomplete one, would fail
// requests or silently give wrong scores. It is rejected when the model loads.

import type { Encoding, Tokenizer } from 'tokenizers'
import { Problem, quoted } from '../problem.js'
import type { Architecture } from './architecture.js'

/** What the tokenizer must agree with. */
export interface TokenizerRequirements extends Pick<Architecture, 'tokenTypes' | 'specialIds'> {
  /** Path of tokenizer.json, for errors. */
  readonly file: string
  /** The model_type of config.json, for errors. */
  readonly type: string
  readonly vocabulary: number
  /** Length of the longest row, special tokens included. */
  readonly maxTokens: number
}

/** @throws Problem `invalid_backbone` that names the token, what is wrong with it, and what to do */
export async function checkTokenizer(tokenizer: Tokenizer, required: TokenizerRequirements): Promise<void> {
  const throwInvalid: ThrowInvalid = (message) => {
    throw new Problem('invalid_backbone', `${required.file}: ${message}`)
  }
  checkIds(tokenizer, required, throwInvalid)
  await checkUnknown(tokenizer, throwInvalid)
  await checkSpecialIds(tokenizer, required, throwInvalid)
  const single = await encodeWith(tokenizer, throwInvalid, 'a')
  const pair = await encodeWith(tokenizer, throwInvalid, 'a', 'b')
  checkOrder(tokenizer, required, { single, pair }, throwInvalid)
  for (const encoding of [single, pair]) {
    checkSpecialTokens(tokenizer, encoding, throwInvalid)
    checkTypes(encoding, required, throwInvalid)
  }
  const specialTokens = pair.getSequenceIds().filter((sequence) => sequence === null).length
  if (specialTokens >= required.maxTokens)
    throwInvalid(
      `a pair of texts gets ${specialTokens} special tokens, but the model takes at most ${required.maxTokens} tokens`,
    )
}

type ThrowInvalid = (message: string) => never

const useOwn = 'Use the tokenizer.json that belongs to the model.'

/** Every token needs an entry in the table of embeddings, and most entries should have a token. */
function checkIds(tokenizer: Tokenizer, { vocabulary }: TokenizerRequirements, throwInvalid: ThrowInvalid): void {
  const count = tokenizer.getVocabSize(true)
  // Reading the whole vocabulary is slow. Most vocabularies have the ids 0, 1, 2, … without a gap, so no id is higher.
  const ids = count <= vocabulary && hasAllIds(tokenizer, count) ? [] : Object.entries(tokenizer.getVocab(true))
  const beyond = ids.filter(([, id]) => id >= vocabulary).sort(([, a], [, b]) => a - b)
  const [[token, id] = []] = beyond
  if (token !== undefined)
    throwInvalid(
      `the token ${quoted(token)} has the id ${id}${beyond.length > 1 ? `, and ${beyond.length - 1} more have higher ones` : ''}, ` +
        `but config.json has vocab_size ${vocabulary}, so the model has no embedding for it. ${useOwn} ` +
        'If tokens were added to it, call resize_token_embeddings(len(tokenizer)) on the model and save both again.',
    )
  const highest = ids.reduce((most, [, id]) => Math.max(most, id), count - 1)
  if (highest + 1 < vocabulary / 2)
    throwInvalid(
      `its highest id is ${highest}, but config.json has vocab_size ${vocabulary}. ` +
        `The tokenizer was made for another model. ${useOwn}`,
    )
}

/** Whether every id below `count` has a token. */
function hasAllIds(tokenizer: Tokenizer, count: number): boolean {
  for (let id = 0; id < count; id++) if (tokenizer.idToToken(id) === null) return false
  return true
}

/** Characters so rare that hardly any vocabulary contains them. They show what happens to unknown characters. */
const rareTexts = ['𓀀', 'ꙮ', '⸎', '🜀']

/** Every character must become some token: the unknown token, or bytes. */
async function checkUnknown(tokenizer: Tokenizer, throwInvalid: ThrowInvalid): Promise<void> {
  const normalizer = tokenizer.getNormalizer()
  // A character that the normalizer removes does not test the vocabulary.
  const texts = rareTexts.filter((text) => (normalizer?.normalizeString(text) ?? text).trim() !== '')
  let tokens = 0
  for (const text of texts) {
    const encoding = await tokenizer
      .encode(text, null, { addSpecialTokens: false })
      .catch((error: Error) =>
        throwInvalid(
          `it cannot encode a character that is not in the vocabulary, such as "${text}": ${error.message}. ${useOwn}`,
        ),
      )
    tokens += encoding.getLength()
  }
  if (texts.length > 0 && tokens === 0)
    throwInvalid(
      'it drops characters that are not in the vocabulary, because "model" has neither an unknown token nor ' +
        `bytes to fall back to. ${useOwn}`,
    )
}

/** The special tokens that config.json names must be special tokens of the tokenizer. */
async function checkSpecialIds(
  tokenizer: Tokenizer,
  { specialIds }: TokenizerRequirements,
  throwInvalid: ThrowInvalid,
): Promise<void> {
  for (const [field, id] of specialIds) {
    const token = tokenizer.idToToken(id)
    // Decoding with skip_special_tokens leaves out only special tokens.
    if (token !== null && (await tokenizer.decode([id], true)) === '') continue
    const found = token === null ? 'the tokenizer has no such id' : `that is the ordinary token ${quoted(token)}`
    throwInvalid(`config.json has ${field} ${id}, but ${found}. The tokenizer was made for another model. ${useOwn}`)
  }
}

const encodeWith = (tokenizer: Tokenizer, throwInvalid: ThrowInvalid, text: string, pair?: string): Promise<Encoding> =>
  tokenizer
    .encode(text, pair ?? null)
    .catch((error: Error) => throwInvalid(`it cannot encode "${text}": ${error.message}`))

/** All families were trained with special tokens around a text, and with one or two between the texts of a pair. */
function checkOrder(
  tokenizer: Tokenizer,
  { type }: TokenizerRequirements,
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
        `but ${type} models need special tokens ${needed}. ${useOwn}`,
    )
  }
  check('a text', single, /^s+0*s+$/, 'before and after it')
  check('a pair of texts', pair, /^s+0*s+1*s+$/, 'before, between and after them')
}

/** The post-processor has its own ids for the special tokens that it adds. They must be those of the vocabulary. */
function checkSpecialTokens(tokenizer: Tokenizer, encoding: Encoding, throwInvalid: ThrowInvalid): void {
  const ids = encoding.getIds()
  for (const [at, token] of encoding.getTokens().entries()) {
    if (encoding.getSequenceIds()[at] !== null) continue
    const known = tokenizer.tokenToId(token)
    if (known !== ids[at])
      throwInvalid(
        `"post_processor" gives the special token ${quoted(token)} the id ${ids[at]}, but in the vocabulary it ` +
          `${known === null ? 'is missing' : `has the id ${known}`}. ${useOwn}`,
      )
  }
}

function checkTypes(encoding: Encoding, { tokenTypes }: TokenizerRequirements, throwInvalid: ThrowInvalid): void {
  // A model with one type or none ignores the types.
  if (tokenTypes < 2) return
  const highest = Math.max(...encoding.getTypeIds())
  if (highest >= tokenTypes)
    throwInvalid(
      `"post_processor" gives tokens the type ${highest}, but config.json has type_vocab_size ${tokenTypes}. ${useOwn}`,
    )
}
