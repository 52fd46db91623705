// Entities from labels of words in the IOB2 scheme (Tjong Kim Sang and Veenstra 1999): B-X begins an entity of type X,
// I-X continues it, and O is outside any entity.

export interface Tag {
  /** True for B-X, false for I-X. */
  readonly begins: boolean
  readonly type: string
}

/** The tag of each label. It is undefined for O. */
export type Tags = readonly (Tag | undefined)[]

/** The tags of labels. Undefined if the labels do not follow the scheme: one is not O, B-X or I-X, or all are O. */
export function tagsOf(labels: readonly string[]): Tags | undefined {
  if (!labels.every((label) => /^(O|[BI]-.+)$/s.test(label)) || labels.every((label) => label === 'O')) return undefined
  return labels.map((label) => (label === 'O' ? undefined : { begins: label.startsWith('B'), type: label.slice(2) }))
}

export interface Entity {
  readonly type: string
  /** Index of the first word, and of the word after the last one. */
  readonly first: number
  readonly end: number
}

/**
 * The entities that the tags of a text's words mark, by the rules of conlleval (CoNLL-2003; Tjong Kim Sang and De
 * Meulder 2003), which seqeval uses by default. An I-X that follows neither B-X nor I-X begins an entity.
 */
export function entitiesOf(tags: Iterable<Tag | undefined>): readonly Entity[] {
  const entities: { type: string; first: number; end: number }[] = []
  let word = 0
  for (const tag of tags) {
    const open = entities.at(-1)
    if (tag && open && open.end === word && !tag.begins && open.type === tag.type) open.end++
    else if (tag) entities.push({ type: tag.type, first: word, end: word + 1 })
    word++
  }
  return entities
}
