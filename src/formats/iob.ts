// Labels of words that mark entities, by the IOB2 scheme (Tjong Kim Sang and Veenstra 1999): B-X begins an entity of
// type X, I-X goes on with it, O is outside of any.

export interface Tag {
  /** B- */
  readonly begins: boolean
  readonly type: string
}

/** The tag that each label is, undefined for O. */
export type Tags = readonly (Tag | undefined)[]

/** Labels as tags; undefined if they are not of the scheme: one is neither O nor B-X nor I-X, or all are O. */
export function tagsOf(labels: readonly string[]): Tags | undefined {
  if (!labels.every((label) => /^(O|[BI]-.+)$/s.test(label)) || labels.every((label) => label === 'O')) return undefined
  return labels.map((label) => (label === 'O' ? undefined : { begins: label.startsWith('B'), type: label.slice(2) }))
}

export interface Entity {
  readonly type: string
  /** Number of the first word, and of the one after the last. */
  readonly first: number
  readonly end: number
}

/**
 * The entities that the tags of a text's words mark. They are read as the evaluation of CoNLL-2003 reads them
 * (conlleval; Tjong Kim Sang and De Meulder 2003), and seqeval by default: an I-X that follows neither a B-X nor an I-X
 * begins an entity.
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
