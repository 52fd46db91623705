// Divides a text into words in the way that the data of a task divides its texts. White space always separates words; the
// rule says which punctuation is a word of its own. data/ finds the rule of a data file, and a task file stores it.

export interface WordRule {
  /** Characters that are words of their own at the beginning of a word. */
  readonly leading: string
  /** Characters that are words of their own at the end of a word. */
  readonly trailing: string
  /** Whether every punctuation character is a word of its own, also inside words. */
  readonly inner: boolean
  /** Parts with an apostrophe that are words of their own: `'s` at the end of a word, `l'` at its beginning. Lower case. */
  readonly clitics: readonly string[]
  /** Words that keep their punctuation in spite of the rule, such as `St.` and `Yahoo!`. */
  readonly whole: readonly string[]
}

/** The rule of a task file whose `words` has no fields: brackets, quotes and the punctuation of sentences are words. */
export const defaultWordRule: WordRule = {
  leading: '([{"\'`“‘«„‚‹¿¡「『【《（',
  trailing: '.,;:!?…)]}"\'`”’“»›。、，；：！？」』】》）،؛؟।',
  inner: false,
  clitics: [],
  whole: [],
}

/** Largest sizes of the parts of a rule. */
export const wordRuleLimits = { characters: 256, clitics: 64, cliticLength: 8, whole: 500, wholeLength: 64 } as const

/** Most words of punctuation that are taken off each edge of a word. Longer runs are not text, and would only take time. */
const maxEdgeWords = 32

/** UTF-16 offsets into a text; the end is exclusive. */
export interface Span {
  readonly start: number
  readonly end: number
}

/** A rule that is prepared for use. */
interface Splitter {
  readonly leading: ReadonlySet<string>
  readonly trailing: ReadonlySet<string>
  readonly inner: boolean
  readonly prefixes: readonly string[]
  readonly suffixes: readonly string[]
  readonly clitics: ReadonlySet<string>
  readonly whole: ReadonlySet<string>
}

/** Prepared once per rule, because a rule serves many texts. */
const splitters = new WeakMap<WordRule, Splitter>()

function splitterOf(rule: WordRule): Splitter {
  const known = splitters.get(rule)
  if (known) return known
  const splitter: Splitter = {
    leading: new Set(rule.leading),
    trailing: new Set(rule.trailing),
    inner: rule.inner,
    prefixes: rule.clitics.filter((clitic) => clitic.endsWith("'")),
    suffixes: rule.clitics.filter((clitic) => !clitic.endsWith("'")),
    clitics: new Set(rule.clitics),
    whole: new Set(rule.whole),
  }
  splitters.set(rule, splitter)
  return splitter
}

/** Whether a text has punctuation; without any, white space alone separates its words. */
export const hasPunctuation = (text: string): boolean => /[\p{P}\p{S}]/u.test(text)

/**
 * The words of a text by a rule, in order. Combining marks belong to the character before them. The time is linear in
 * the length of the text.
 * @param until words that begin at this offset or later may be left out
 */
export function wordSpans(text: string, rule: WordRule, until = text.length): readonly Span[] {
  const splitter = splitterOf(rule)
  const words: Span[] = []
  const pieces = /\S+/g
  for (let piece = pieces.exec(text); piece && piece.index < until; piece = pieces.exec(text)) {
    const span = withoutInvisible(text, piece.index, pieces.lastIndex)
    if (span.start === span.end) continue
    if (splitter.inner) splitEverywhere(text, span, words)
    else splitEdges(text, span, splitter, words)
  }
  return words
}

/** Leaves out controls and format characters at the edges of a word, such as zero-width spaces, but not the joiners. */
function withoutInvisible(text: string, start: number, end: number): Span {
  let [from, to] = [start, end]
  while (from < to && isInvisible(text, from)) from++
  while (from < to && isInvisible(text, to - 1)) to--
  return { start: from, end: to }
}

function isInvisible(text: string, offset: number): boolean {
  const code = text.charCodeAt(offset)
  if (code > 0x20 && code < 0x7f) return false
  return /(?![\u200c\u200d])[\p{Cc}\p{Cf}]/u.test(text[offset] ?? '')
}

function splitEverywhere(text: string, { start, end }: Span, words: Span[]): void {
  for (const { 0: part, index } of text.slice(start, end).matchAll(/[\p{P}\p{S}]\p{M}*|[^\p{P}\p{S}]+/gu))
    words.push({ start: start + index, end: start + index + part.length })
}

/** Takes runs of separate characters off both edges. A run of one character is one word, as in `...`. */
function splitEdges(text: string, { start, end }: Span, splitter: Splitter, words: Span[]): void {
  let from = start
  for (let taken = 0; taken < maxEdgeWords; taken++) {
    const cut = leadingRunEnd(text, from, end, splitter.leading)
    if (cut === from || isWhole(text, from, end, splitter)) break
    words.push({ start: from, end: cut })
    from = cut
  }
  const after: Span[] = []
  let to = end
  while (from < to && after.length < maxEdgeWords) {
    const cut = trailingRunStart(text, from, to, splitter.trailing)
    if (cut === to || isWhole(text, from, to, splitter) || isAbbreviation(text, from, to)) break
    after.push({ start: cut, end: to })
    to = cut
  }
  if (from < to) splitClitics(text, from, to, splitter, words)
  for (let i = after.length - 1; i >= 0; i--) words.push(after[i] ?? { start, end })
}

function isWhole(text: string, start: number, end: number, { whole, clitics }: Splitter): boolean {
  if (end - start > wordRuleLimits.wholeLength) return false
  const word = text.slice(start, end)
  return whole.has(word) || clitics.has(plain(word))
}

/** Whether a period belongs to letters that each have one, as in `U.S.` and `J.` */
const isAbbreviation = (text: string, start: number, end: number): boolean =>
  text[end - 1] === '.' && end - start <= wordRuleLimits.wholeLength && /^(\p{L}\.)+$/u.test(text.slice(start, end))

/** The end of the run of one separate character at the start, marks included; the start itself if there is none. */
function leadingRunEnd(text: string, start: number, end: number, separate: ReadonlySet<string>): number {
  const first = characterAt(text, start)
  let at = start
  if (separate.has(first))
    while (at < end && characterAt(text, at) === first) at = afterMarks(text, at + first.length, end)
  return at
}

/** The start of the run of one separate character at the end; the end itself if there is none. */
function trailingRunStart(text: string, start: number, end: number, separate: ReadonlySet<string>): number {
  let last: string | undefined
  let runStart = end
  while (runStart > start) {
    let base = runStart
    let character = characterBefore(text, base)
    while (base - character.length > start && isMark(character)) {
      base -= character.length
      character = characterBefore(text, base)
    }
    if (last === undefined ? !separate.has(character) : character !== last) break
    last = character
    runStart = base - character.length
  }
  return runStart
}

function splitClitics(text: string, start: number, end: number, splitter: Splitter, words: Span[]): void {
  const { prefixes, suffixes } = splitter
  const { cliticLength } = wordRuleLimits
  const head = prefixes.length > 0 ? plain(text.slice(start, Math.min(end, start + cliticLength))) : ''
  const prefix = prefixes.find((clitic) => clitic.length < end - start && head.startsWith(clitic))?.length ?? 0
  const rest = start + prefix
  const tail = suffixes.length > 0 ? plain(text.slice(Math.max(rest, end - cliticLength), end)) : ''
  const suffix = suffixes.find((clitic) => clitic.length < end - rest && tail.endsWith(clitic))?.length ?? 0
  if (prefix > 0) words.push({ start, end: rest })
  words.push({ start: rest, end: end - suffix })
  if (suffix > 0) words.push({ start: end - suffix, end })
}

/** A word as clitics are written: in lower case, with straight apostrophes. The length stays the same. */
export function plain(word: string): string {
  const lower = word.toLowerCase()
  return (lower.length === word.length ? lower : word).replaceAll('’', "'")
}

/** The offset after the combining marks that begin at an offset. */
export function afterMarks(text: string, offset: number, end: number): number {
  let at = offset
  while (at < end && isMark(characterAt(text, at))) at += characterAt(text, at).length
  return at
}

/** No character below U+0300 is a combining mark. */
const isMark = (character: string): boolean => character >= '\u0300' && /^\p{M}/u.test(character)

/** The whole character at or before an offset, with both halves of a surrogate pair. */
const characterAt = (text: string, offset: number): string =>
  isSurrogate(text, offset) ? String.fromCodePoint(text.codePointAt(offset) ?? 0) : (text[offset] ?? '')
const characterBefore = (text: string, offset: number): string => {
  const pair = isSurrogate(text, offset - 1) && offset >= 2 ? characterAt(text, offset - 2) : ''
  return pair.length === 2 ? pair : (text[offset - 1] ?? '')
}
const isSurrogate = (text: string, offset: number): boolean => (text.charCodeAt(offset) & 0xf800) === 0xd800
