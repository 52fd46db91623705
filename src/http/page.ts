// Splits lists into pages.

/**
 * @param found the next entries in the order of their ids, up to one more than `limit`
 * @returns at most `limit` entries; `next` is the id of the last one if there are more, else null
 */
export function pageOf<T extends { readonly id: string }>(
  limit: number,
  found: readonly T[],
): { readonly page: readonly T[]; readonly next: string | null } {
  const page = found.slice(0, limit)
  return { page, next: found.length > limit ? (page.at(-1)?.id ?? null) : null }
}
