// Texts to token ids, by Hugging Face's own tokenizers, off the main thread.

import { join } from 'node:path'
import { type Encoding, Tokenizer } from 'tokenizers'
import { Problem } from '../problem.js'
import type { Backbone } from './backbone.js'
import { maxTokensOf } from './families.js'
import { tokenizerName, withModelFile } from './model-files.js'
import { checkTokenizer } from './tokenizer-checks.js'

export interface Text {
  readonly text: string
  readonly textPair?: string
}

export interface EncodedText {
  /** What was read of the text: all of it, unless it has more characters than the tokenizer reads. */
  readonly text: string
  readonly inputIds: readonly number[]
  readonly tokenTypeIds: readonly number[]
  /** Tokens of what was read; more than were kept if it was cut. */
  readonly fullLength: number
  /** What the tokens stand for. */
  readonly encoding: Encoding
}

/**
 * Characters (UTF-16) that are read of a text, for each token that the backbone takes. Texts have three to six characters a
 * token; what has many more is mostly white space, or words that no vocabulary has. A tokenizer needs time and memory for
 * every character, also for those whose tokens are cut off afterwards.
 */
const charactersPerToken = 32
/** A text of more characters, for each token that the backbone takes, is likely to be cut. */
const longTextShare = 4

export class TextTokenizer {
  readonly #tokenizer: Tokenizer
  /** Special tokens around one text, and around a pair. */
  readonly #specials = new Map<boolean, number>()
  /** Characters that are read of a text; what follows them is not tokenised. */
  readonly maxCharacters: number

  /**
   * Takes a tokenizer as it is; {@link open} checks it against a backbone.
   * @param file path of tokenizer.json; its own padding and truncation are ignored
   * @param maxTokens longest row that the backbone takes, special tokens included
   * @throws Problem `invalid_backbone`
   */
  constructor(
    file: string,
    readonly maxTokens: number,
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
  }

  /**
   * The tokenizer in a backbone's directory.
   * @param limit what longer texts are cut to, if the backbone takes longer ones
   * @throws Problem `invalid_backbone` if there is none, or if it does not belong to the backbone
   */
  static async open(
    { directory, config }: Pick<Backbone, 'directory' | 'config'>,
    limit = Number.POSITIVE_INFINITY,
  ): Promise<TextTokenizer> {
    await withModelFile(directory, tokenizerName, async () => {})
    const file = join(directory, tokenizerName)
    const text = new TextTokenizer(file, Math.min(limit, maxTokensOf(config)))
    await checkTokenizer(text.#tokenizer, { file, config, maxTokens: text.maxTokens })
    return text
  }

  /**
   * Encodes a text or a pair; one that is too long is cut at its end, the longer part of a pair first. Of each text at most
   * `maxCharacters` are read.
   */
  async encode(whole: Text): Promise<EncodedText> {
    const text = beginningOf(whole.text, this.maxCharacters)
    const textPair = whole.textPair === undefined ? undefined : beginningOf(whole.textPair, this.maxCharacters)
    return { text, ...(await this.#encode(text, textPair)) }
  }

  async #encode(text: string, textPair: string | undefined): Promise<Omit<EncodedText, 'text'>> {
    // A long text is tokenised once, without special tokens, and not first as a whole and then in parts.
    const isLong = text.length + (textPair?.length ?? 0) > longTextShare * this.maxTokens
    const whole = isLong ? undefined : await this.#tokenizer.encode(text, textPair ?? null)
    if (whole && whole.getLength() <= this.maxTokens) return encoded(whole, whole.getLength())
    const bare = { addSpecialTokens: false }
    const first = await this.#tokenizer.encode(text, null, bare)
    const second = textPair === undefined ? null : await this.#tokenizer.encode(textPair, null, bare)
    const lengths = [first.getLength(), second?.getLength() ?? 0] as const
    const specialTokens = await this.#specialTokens(second !== null)
    const [a, b] = longestFirst(lengths, this.maxTokens - specialTokens)
    // Unless told the side, this binding cuts the beginning.
    first.truncate(a, 0, 'right')
    second?.truncate(b, 0, 'right')
    const encoding = this.#tokenizer.postProcess(first, second, true)
    return encoded(encoding, lengths[0] + lengths[1] + specialTokens)
  }

  /** Special tokens of a text, or of a pair. */
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

/** At most so many characters of a text, without half of a surrogate pair at the end. */
function beginningOf(text: string, most: number): string {
  if (text.length <= most) return text
  const last = text.charCodeAt(most - 1)
  return text.slice(0, last >= 0xd800 && last < 0xdc00 ? most - 1 : most)
}

/** Lengths of a pair cut to `room` tokens together by taking from the longer one, as `longest_first` does. */
function longestFirst([a, b]: readonly [number, number], room: number): [number, number] {
  const half = Math.floor(room / 2)
  if (a + b <= room) return [a, b]
  if (Math.min(a, b) <= half) return a <= b ? [a, room - a] : [room - b, b]
  return a <= b ? [half, room - half] : [room - half, half]
}
