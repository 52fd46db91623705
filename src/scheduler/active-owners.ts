// Which tenants ask at this time. While it is one alone, batches may be as long as they are efficient. While it is several,
// they wait for each other's batches, which are kept short.

/** A tenant counts as active for so long after a request, in milliseconds. */
const activeMs = 5_000

export class ActiveOwners {
  /** When each tenant asked last; the one that has not asked for longest comes first. */
  readonly #lastAsked = new Map<string, number>()

  record(tenant: string, now: number): void {
    this.#lastAsked.delete(tenant)
    this.#lastAsked.set(tenant, now)
  }

  /** Whether more than one tenant is active. */
  hasSeveral(now: number): boolean {
    for (const [tenant, at] of this.#lastAsked) {
      if (now - at <= activeMs) break
      this.#lastAsked.delete(tenant)
    }
    return this.#lastAsked.size > 1
  }
}
