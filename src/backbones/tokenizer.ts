// Converts texts to token ids with Hugging Face's tokenizers library, which works outside the main thread.

import { join } from 'node:path'
import { type Encoding, lowercase, sequenceNormalizer, Tokenizer } from 'tokenizers'
import { Problem } from '../problem.js'
import { architectureOf, type Backbone } from './backbone.js'
import { tokenizerName, withModelFile } from './model-files.js'
import { checkTokenizer } from './tokenizer-checks.js'

export interface Text {
  readonly text: string
  readonly textPair?: string
}

/** How the texts of a task become tokens. */
export interface TextForm {
  /** Tokens to which longer texts are cut, special tokens included. Default, and at most: what the backbone takes. */
  readonly maxLength?: number
  /** Put before every text; in a pair, before both. It counts towards the length. */
  readonly textPrefix?: string
}

export interface EncodedText {
  /** The prefix and the text, cut to the characters that the tokenizer reads. */
  readonly text: string
  /** UTF-16 length of the prefix. */
  readonly prefixLength: number
  /** Whether the end of a text is missing from the tokens. */
  readonly isCut: boolean
  readonly inputIds: readonly number[]
  readonly tokenTypeIds: readonly number[]
  /** Tokens before truncation, special tokens included. */
  readonly fullLength: number
  /** The kept tokens with their offsets and words. */
  readonly encoding: Encoding
}

/**
 * Characters (UTF-16) that are read of a text, for each token of its maximum length. Usual texts have three to six
 * characters per token; a text with many more is mostly white space or unknown words. The limit bounds time and memory,
 * because a tokenizer also processes the characters whose tokens are cut off afterwards.
 */
const charactersPerToken = 32
/** A text with more characters than this, for each token of its maximum length, will probably be cut. */
const longTextShare = 4

export class TextTokenizer {
  readonly #tokenizer: Tokenizer
  /** Number of special tokens of one text (false) and of a pair (true). */
  readonly #specials = new Map<boolean, number>()
  /** Most characters that are read of a text of any form. */
  readonly maxCharacters: number

  /**
   * Loads a tokenizer without checks; {@link open} checks it against a backbone.
   * @param file path of tokenizer.json; its padding and truncation settings are ignored
   * @param maxTokens length of the longest row, special tokens included
   * @param lower whether texts are converted to lower case first, in addition to the tokenizer's own normalisation
   * @throws Problem `invalid_backbone`
   */
  constructor(
    file: string,
    readonly maxTokens: number,
    lower = false,
  ) {
    try {
      this.#tokenizer = Tokenizer.fromFile(file)
    } catch (error) {
      const reason = (error as Error).message.replace(/^Error loading from file/, '')
      throw new Problem('invalid_backbone', `${file} cannot be loaded: ${reason}. Download it again.`)
    }
    this.maxCharacters = charactersPerToken * maxTokens
    this.#tokenizer.disablePadding()
    this.#tokenizer.disableTruncation()
    if (lower) {
      const own = this.#tokenizer.getNormalizer()
      this.#tokenizer.setNormalizer(own === null ? lowercase() : sequenceNormalizer([lowercase(), own]))
    }
  }

  /**
   * The tokenizer in a backbone's directory.
   * @param limit tokens to which longer texts are cut, if that is less than the backbone takes
   * @throws Problem `invalid_backbone` if it is missing or does not belong to the backbone
   */
  static async open(backbone: Backbone, limit = Number.POSITIVE_INFINITY): Promise<TextTokenizer> {
    const { directory, dims, type, sentence } = backbone
    await withModelFile(directory, tokenizerName, async () => {})
    const file = join(directory, tokenizerName)
    const text = new TextTokenizer(file, Math.min(limit, dims.maxTokens), sentence?.lowercase)
    const { tokenTypes, specialIds } = architectureOf(backbone)
    const { vocabulary } = dims
    await checkTokenizer(text.#tokenizer, { file, type, vocabulary, tokenTypes, specialIds, maxTokens: text.maxTokens })
    return text
  }

  /** Tokens of the longest row of a form. */
  maxTokensOf({ maxLength = this.maxTokens }: TextForm): number {
    return Math.min(maxLength, this.maxTokens)
  }

  /** Characters that are read of a text, in addition to its prefix. The rest is ignored. */
  maxCharactersOf(form: TextForm): number {
    return charactersPerToken * this.maxTokensOf(form)
  }

  /** Encodes a text or a pair. A text that is too long loses its end; of a pair, the longer text is cut first. */
  async encode(whole: Text, form: TextForm = {}): Promise<EncodedText> {
    const maxTokens = this.maxTokensOf(form)
    const maxCharacters = this.maxCharactersOf(form)
    const { textPrefix = '' } = form
    const read = (text: string) => textPrefix + firstCharacters(text, maxCharacters)
    const text = read(whole.text)
    const textPair = whole.textPair === undefined ? undefined : read(whole.textPair)
    const tokens = await this.#encode(text, textPair, maxTokens)
    const mostCharacters = Math.max(whole.text.length, whole.textPair?.length ?? 0)
    const isCut = tokens.fullLength > maxTokens || mostCharacters > maxCharacters
    return { text, prefixLength: textPrefix.length, isCut, ...tokens }
  }

  async #encode(text: string, textPair: string | undefined, maxTokens: number): Promise<Tokens> {
    // Truncation needs the tokens of each text without special tokens. For a long text these are computed directly, so
    // that it is tokenised only once.
    const isLong = text.length + (textPair?.length ?? 0) > longTextShare * maxTokens
    const whole = isLong ? undefined : await this.#tokenizer.encode(text, textPair ?? null)
    if (whole && whole.getLength() <= maxTokens) return encoded(whole, whole.getLength())
    const bare = { addSpecialTokens: false }
    const first = await this.#tokenizer.encode(text, null, bare)
    const second = textPair === undefined ? null : await this.#tokenizer.encode(textPair, null, bare)
    const lengths = [first.getLength(), second?.getLength() ?? 0] as const
    const specialTokens = await this.#specialTokens(second !== null)
    const [a, b] = longestFirst(lengths, maxTokens - specialTokens)
    // Without the side, this binding cuts the beginning.
    first.truncate(a, 0, 'right')
    second?.truncate(b, 0, 'right')
    const encoding = this.#tokenizer.postProcess(first, second, true)
    return encoded(encoding, lengths[0] + lengths[1] + specialTokens)
  }

  /** Number of special tokens of one text, or of a pair. */
  async #specialTokens(pair: boolean): Promise<number> {
    const known = this.#specials.get(pair)
    if (known !== undefined) return known
    const text = 'a'
    const bare = await this.#tokenizer.encode(text, null, { addSpecialTokens: false })
    const whole = await this.#tokenizer.encode(text, pair ? text : null)
    const count = whole.getLength() - (pair ? 2 : 1) * bare.getLength()
    this.#specials.set(pair, count)
    return count
  }
}

type Tokens = Pick<EncodedText, 'inputIds' | 'tokenTypeIds' | 'fullLength' | 'encoding'>

const encoded = (encoding: Encoding, fullLength: number): Tokens => ({
  inputIds: encoding.getIds(),
  tokenTypeIds: encoding.getTypeIds(),
  fullLength,
  encoding,
})

/** The first `most` characters of a text, without half of a surrogate pair at the end. */
function firstCharacters(text: string, most: number): string {
  if (text.length <= most) return text
  const last = text.charCodeAt(most - 1)
  return text.slice(0, last >= 0xd800 && last < 0xdc00 ? most - 1 : most)
}

/** Lengths of a pair, cut to `room` tokens together. The longer text is cut first, as by `longest_first` in transformers. */
function longestFirst([a, b]: readonly [number, number], room: number): [number, number] {
  const half = Math.floor(room / 2)
  if (a + b <= room) return [a, b]
  if (Math.min(a, b) <= half) return a <= b ? [a, room - a] : [room - b, b]
  return a <= b ? [half, room - half] : [room - half, half]
}
