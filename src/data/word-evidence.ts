// Finds how the words of a data file are divided, so that a server divides raw texts in the same way. Some data separates
// punctuation from words ("Smith" and ","), some does not, and abbreviations keep their periods in both.

import {
  defaultWordRule,
  hasPunctuation,
  plain,
  type Span,
  type WordRule,
  wordRuleLimits,
  wordSpans,
} from '../formats/word-rule.js'

/** Bounds the memory of a large file. Words that are frequent occur among the first. */
const mostWords = 100_000

/** With fewer words of punctuation alone, data does not show that it divides words at every punctuation character. */
const enoughAlone = 20

const edgePunctuation = '[\\p{P}\\p{S}]'
const marks = '\\p{M}*'
const onlyPunctuation = new RegExp(`^(${edgePunctuation}${marks})+$`, 'u')
const leadingCharacter = new RegExp(`^${edgePunctuation}`, 'u')
const trailingCharacter = new RegExp(`(${edgePunctuation})${marks}$`, 'u')
const innerCharacter = new RegExp(`[^\\p{P}\\p{S}]${edgePunctuation}+[^\\p{P}\\p{S}]`, 'u')
const suffixClitic = /^n?'\p{L}{1,3}$/u
const prefixClitic = /^\p{L}{1,5}'$/u

export class WordEvidence {
  readonly #counts = new Map<string, number>()
  /** How often punctuation is a word of its own, by its first character. */
  readonly #alone = new Map<string, number>()

  /** Words as the data divides them. */
  add(words: Iterable<string>): void {
    for (const word of words) {
      const count = this.#counts.get(word)
      if (count !== undefined) this.#counts.set(word, count + 1)
      else if (this.#counts.size < mostWords) this.#counts.set(word, 1)
      if (hasPunctuation(word) && onlyPunctuation.test(word)) this.#separate(word)
    }
  }

  /** Spans of a text that the data labels; what touches them from outside is separate from them. */
  addSpans(text: string, spans: Iterable<Span>): void {
    for (const { start, end } of spans) {
      this.add(text.slice(start, end).match(/\S+/g) ?? [])
      const after = text.slice(end, end + wordRuleLimits.cliticLength)
      const [clitic] = /^['’]\p{L}{1,3}(?![\p{L}\p{M}])/u.exec(after) ?? []
      if (clitic !== undefined) this.add([clitic])
      else if (leadingCharacter.test(after)) this.#separate(after)
      const before = trailingCharacter.exec(text.slice(Math.max(0, start - 2), start))?.[1]
      if (before !== undefined) this.#separate(before)
    }
  }

  get rule(): WordRule {
    const clitics = this.#clitics()
    const attached = { leading: new Map<string, Attached>(), trailing: new Map<string, Attached>() }
    let inner = 0
    let alone = 0
    for (const [word, count] of this.#counts) {
      if (!hasPunctuation(word)) continue
      if (onlyPunctuation.test(word)) alone += count
      if (onlyPunctuation.test(word) || clitics.includes(plain(word))) continue
      const [first] = leadingCharacter.exec(word) ?? []
      if (first !== undefined) this.#attach(attached.leading, first, count, word.slice(first.length))
      const last = trailingCharacter.exec(word)
      if (last) this.#attach(attached.trailing, last[1] ?? '', count, word.slice(0, last.index))
      if (innerCharacter.test(word)) inner += count
    }
    const rule = {
      leading: this.#separateCharacters('leading', attached.leading),
      trailing: this.#separateCharacters('trailing', attached.trailing),
      inner: alone >= enoughAlone && 50 * inner < alone,
      clitics,
      whole: [],
    }
    return { ...rule, whole: this.#wholeWords(rule) }
  }

  #separate(word: string): void {
    const [first = ''] = word
    this.#alone.set(first, (this.#alone.get(first) ?? 0) + 1)
  }

  #attach(characters: Map<string, Attached>, character: string, count: number, rest: string): void {
    const known = characters.get(character) ?? { all: 0, alsoWithout: 0 }
    const alsoWithout = this.#counts.has(rest) ? count : 0
    characters.set(character, { all: known.all + count, alsoWithout: known.alsoWithout + alsoWithout })
  }

  /**
   * A character of the default rule is attached if it mostly occurs on words that occur without it too: "Paris." and
   * "Paris", but not "St." Any other character is separate if it is mostly a word of its own.
   */
  #separateCharacters(edge: 'leading' | 'trailing', attached: ReadonlyMap<string, Attached>): string {
    const byDefault = defaultWordRule[edge]
    // A closing bracket that is a word of its own says nothing about the beginnings of words.
    const other = defaultWordRule[edge === 'leading' ? 'trailing' : 'leading']
    const seen = [...this.#alone.keys()].filter((character) => !other.includes(character))
    const characters = new Set([...byDefault, ...seen])
    const separate = [...characters].filter((character) => {
      const { all, alsoWithout } = attached.get(character) ?? { all: 0, alsoWithout: 0 }
      const alone = this.#alone.get(character) ?? 0
      return byDefault.includes(character) ? alsoWithout <= alone : alone > all
    })
    return separate.slice(0, wordRuleLimits.characters / 2).join('')
  }

  /** Parts with an apostrophe that are more often words of their own than parts of words. */
  #clitics(): readonly string[] {
    const found = new Map<string, number>()
    for (const [word, count] of this.#counts) {
      const clitic = plain(word)
      if (suffixClitic.test(clitic) || prefixClitic.test(clitic)) found.set(clitic, (found.get(clitic) ?? 0) + count)
    }
    if (found.size === 0) return []
    for (const [word, count] of this.#counts) {
      const text = plain(word)
      if (found.has(text)) continue
      const at = text.indexOf("'")
      const last = text.lastIndexOf("'")
      if (at < 0) continue
      for (const part of new Set([text.slice(last), text.slice(last - 1), text.slice(0, at + 1)])) {
        const apart = found.get(part)
        if (apart !== undefined) found.set(part, apart - count)
      }
    }
    return [...found]
      .filter(([, count]) => count >= 2)
      .sort((a, b) => b[1] - a[1])
      .slice(0, wordRuleLimits.clitics)
      .map(([clitic]) => clitic)
  }

  /** The most frequent words that the rule would divide. */
  #wholeWords(rule: WordRule): readonly string[] {
    const divided: [string, number][] = []
    for (const [word, count] of this.#counts) {
      if (!hasPunctuation(word) || word.length > wordRuleLimits.wholeLength) continue
      const [first, second] = wordSpans(word, rule)
      if (first === undefined || second === undefined) continue
      // A few cases of "Paris." among many of "Paris" are slips.
      const longest = wordSpans(word, rule).reduce((a, b) => (b.end - b.start > a.end - a.start ? b : a), first)
      if ((this.#counts.get(word.slice(longest.start, longest.end)) ?? 0) < count) divided.push([word, count])
    }
    return divided
      .sort((a, b) => b[1] - a[1])
      .slice(0, wordRuleLimits.whole)
      .map(([word]) => word)
  }
}

interface Attached {
  readonly all: number
  /** Those whose words occur without the character too. */
  readonly alsoWithout: number
}
