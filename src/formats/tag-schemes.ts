// The notations in which data files tag entities (IOB1, IOB2, BIOES, BILOU, BMES and IO), and their conversion to IOB2.

/** B begins an entity, I continues it, E ends it, and S is an entity of one word; undefined is outside any entity. */
export type SchemeTag = { readonly prefix: 'B' | 'I' | 'E' | 'S'; readonly type: string } | undefined

const prefixes: Readonly<Record<string, 'B' | 'I' | 'E' | 'S'>> = {
  ...{ B: 'B', I: 'I', E: 'E', S: 'S' },
  // BILOU says last and unit, and BMES says middle. Some files write W for an entity of one word.
  ...{ L: 'E', U: 'S', M: 'I', W: 'S' },
}

export type Notation = 'prefix' | 'suffix' | 'plain'

const patterns = { prefix: /^([a-z])[-_](.+)$/is, suffix: /^(.+)[-_]([a-z])$/is } as const

/** Letter and type of a tag, if it has the notation. */
function parts(
  label: string,
  notation: 'prefix' | 'suffix',
): { readonly letter: string; readonly type: string } | undefined {
  const [, one = '', two = ''] = patterns[notation].exec(label) ?? []
  const [letter, type] = notation === 'prefix' ? [one.toUpperCase(), two] : [two.toUpperCase(), one]
  return Object.hasOwn(prefixes, letter) ? { letter, type } : undefined
}

const isOutside = (label: string): boolean => label === 'O' || label === 'o'

export interface TagScheme {
  readonly notation: Notation
  /** The letters that occur before the types, in capitals. */
  readonly letters: ReadonlySet<string>
  /** Types of entities, in the order of their first tags. */
  readonly types: readonly string[]
}

/** The scheme of the labels of words; undefined if they do not tag entities. */
export function tagSchemeOf(labels: Iterable<string>): TagScheme | undefined {
  const all = [...labels]
  const tags = all.filter((label) => !isOutside(label))
  const hasOutside = tags.length < all.length
  if (tags.length === 0) return undefined
  for (const notation of ['prefix', 'suffix'] as const) {
    const found = tags.map((label) => parts(label, notation))
    if (found.some((part) => part === undefined)) continue
    const letters = new Set(found.map((part) => part?.letter ?? ''))
    // Without any word outside of entities, a letter and a hyphen may be a part of ordinary names.
    if (!hasOutside && !letters.has('B') && !letters.has('I')) continue
    return { notation, letters, types: [...new Set(found.map((part) => part?.type ?? ''))] }
  }
  return hasOutside ? { notation: 'plain', letters: new Set(), types: tags } : undefined
}

/**
 * Reads the tag of a label.
 * @param types the types that are known
 * @returns the label itself if it is not a tag of a known type
 */
export function schemeTag(label: string, types: ReadonlySet<string>): SchemeTag | string {
  if (isOutside(label)) return undefined
  for (const notation of ['prefix', 'suffix'] as const) {
    const found = parts(label, notation)
    const prefix = found && prefixes[found.letter]
    if (found && prefix && types.has(found.type)) return { prefix, type: found.type }
  }
  return types.has(label) ? { prefix: 'I', type: label } : label
}

/**
 * The tags of a text's words in IOB2. Where a tag does not follow its scheme, the entities are those that conlleval and
 * the default mode of seqeval find: a change of type begins an entity, as does a word after the end of another one.
 */
export function toIob2(tags: readonly SchemeTag[]): readonly string[] {
  return tags.map((tag, at) => {
    if (tag === undefined) return 'O'
    const before = tags[at - 1]
    const begins =
      tag.prefix === 'B' ||
      tag.prefix === 'S' ||
      before === undefined ||
      before.prefix === 'E' ||
      before.prefix === 'S' ||
      before.type !== tag.type
    return `${begins ? 'B' : 'I'}-${tag.type}`
  })
}

/** The labels of a task for entities of some types: O, B-X and I-X. */
export const iob2Labels = (types: Iterable<string>): readonly string[] => [
  'O',
  ...[...types].flatMap((type) => [`B-${type}`, `I-${type}`]),
]

/** Finds how a file tags entities from the pairs of labels that follow each other. */
export class TagSurvey {
  readonly #pairs = new Set<string>()
  readonly #labels = new Set<string>()

  /** @param labels of the words of a text */
  add(labels: readonly string[]): void {
    let before = ''
    for (const label of labels) {
      this.#labels.add(label)
      if (this.#pairs.size < mostPairs) this.#pairs.add(`${before}\n${label}`)
      before = label
    }
  }

  /** The scheme and its name; undefined if the labels do not tag entities. */
  get result(): (TagScheme & { readonly name: string }) | undefined {
    const scheme = tagSchemeOf(this.#labels)
    return scheme && { ...scheme, name: this.#nameOf(scheme) }
  }

  #nameOf({ letters, types }: TagScheme): string {
    const has = (...some: string[]) => some.some((letter) => letters.has(letter))
    if (has('M')) return 'BMES'
    if (has('L', 'U')) return 'BILOU'
    if (has('E', 'S', 'W')) return 'BIOES'
    if (!has('B')) return 'IO'
    const known = new Set(types)
    let [opens, separates] = [false, true]
    for (const pair of this.#pairs) {
      const [before = '', label = ''] = pair.split('\n')
      const [a, b] = [schemeTag(before, known), schemeTag(label, known)]
      if (typeof b !== 'object') continue
      const continues = typeof a === 'object' && a.type === b.type
      if (b.prefix === 'I' && !continues) opens = true
      if (b.prefix === 'B' && !continues) separates = false
    }
    // IOB1 has B only between two entities of one type that touch.
    return opens && separates ? 'IOB1' : 'IOB2'
  }
}

/** Bounds the memory of files with very many labels. */
const mostPairs = 100_000
