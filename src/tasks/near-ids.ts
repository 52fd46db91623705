// Suggests an id for a misspelt one.

/** Most edits between a misspelt id and the right one. */
const mostEdits = 2

/**
 * The id that is most similar to a misspelt one: at most one edit per three characters, and two in total.
 * @param ids those that the caller may see
 */
export function nearestId(misspelt: string, ids: Iterable<string>): string | undefined {
  const id = misspelt.toLowerCase().replace(/\.safetensors$/, '')
  let nearest: string | undefined
  let least = Math.min(mostEdits, Math.floor(id.length / 3)) + 1
  for (const candidate of ids) {
    const edits = editsBetween(id, candidate, least - 1)
    if (edits < least) [nearest, least] = [candidate, edits]
  }
  return nearest
}

/** Levenshtein distance: insertions, deletions and substitutions. @returns Infinity if there are more than `most` */
function editsBetween(a: string, b: string, most: number): number {
  let equal = 0
  while (equal < a.length && a[equal] === b[equal]) equal++
  const [x, y] = [a.slice(equal), b.slice(equal)]
  if (Math.abs(x.length - y.length) > most) return Number.POSITIVE_INFINITY
  if (x === '' || y === '') return x.length + y.length
  if (most === 0) return Number.POSITIVE_INFINITY
  const substituted = editsBetween(x.slice(1), y.slice(1), most - 1)
  const deleted = editsBetween(x.slice(1), y, most - 1)
  const inserted = editsBetween(x, y.slice(1), most - 1)
  return 1 + Math.min(substituted, deleted, inserted)
}
