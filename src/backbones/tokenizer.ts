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

export interface EncodedText {
  /** The text, cut to the characters that the tokenizer reads. */
  readonly text: string
  readonly inputIds: readonly number[]
  readonly tokenTypeIds: readonly number[]
  /** Tokens before truncation, special tokens included. */
  readonly fullLength: number
  /** The kept tokens with their offsets and words. */
  readonly encoding: Encoding
}

/**
 * Characters (UTF-16) that are read of a text, for each token that the backbone takes. Usual texts have three to six
 * characters per token; a text with many more is mostly white space or unknown words. The limit bounds time and memory,
 * because a tokenizer also processes the characters whose tokens are cut off afterwards.
 */
const charactersPerToken = 32
/** A text with more characters than this, for each token that the backbone takes, will probably be cut. */
const longTextShare = 4

export class TextTokenizer {
  readonly #tokenizer: Tokenizer
  /** Number of special tokens of one text (false) and of a pair (true). */
  readonly #specials = new Map<boolean, number>()
  /** Characters that are read of a text. The rest is ignored. */
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

  /**
   * Encodes a text or a pair. A text that is too long loses its end; of a pair, the longer text is cut first. At most
   * `maxCharacters` are read of each text.
   */
  async encode(whole: Text): Promise<EncodedText> {
    const text = firstCharacters(whole.text, this.maxCharacters)
    const textPair = whole.textPair === undefined ? undefined : firstCharacters(whole.textPair, this.maxCharacters)
    return { text, ...(await this.#encode(text, textPair)) }
  }

  async #encode(text: string, textPair: string | undefined): Promise<Omit<EncodedText, 'text'>> {
    // Truncation needs the tokens of each text without special tokens. For a long text these are computed directly, so
    // that it is tokenised only once.
    const isLong = text.length + (textPair?.length ?? 0) > longTextShare * this.maxTokens
    const whole = isLong ? undefined : await this.#tokenizer.encode(text, textPair ?? null)
    if (whole && whole.getLength() <= this.maxTokens) return encoded(whole, whole.getLength())
    const bare = { addSpecialTokens: false }
    const first = await this.#tokenizer.encode(text, null, bare)
    const second = textPair === undefined ? null : await this.#tokenizer.encode(textPair, null, bare)
    const lengths = [first.getLength(), second?.getLength() ?? 0] as const
    const specialTokens = await this.#specialTokens(second !== null)
    const [a, b] = longestFirst(lengths, this.maxTokens - specialTokens)
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

const encoded = (encoding: Encoding, fullLength: number): Omit<EncodedText, 'text'> => ({
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
