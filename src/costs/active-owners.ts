// Which owners have sent requests recently. While only one owner is active, work is done in large, efficient pieces. While
// several are, the pieces stay small, because owners wait for each other.

/** How long an owner counts as active after a request, in milliseconds. */
const activeMs = 5_000

export class ActiveOwners {
  /** The time of each owner's latest request, oldest first. */
  readonly #lastSeen = new Map<string, number>()

  record(owner: string, now: number): void {
    this.#lastSeen.delete(owner)
    this.#lastSeen.set(owner, now)
  }

  /** Whether more than one owner is active. */
  hasSeveral(now: number): boolean {
    for (const [owner, at] of this.#lastSeen) {
      if (now - at <= activeMs) break
      this.#lastSeen.delete(owner)
    }
    return this.#lastSeen.size > 1
  }
}
