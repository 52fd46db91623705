// Counts how many examples of a dataset have each label. The number of labels is bounded: once there are too many, the counts
// of further labels are missing, and those of the others stay exact.

import type { Dataset } from '../tasks/datasets.js'

const maxLabels = 1_000
/** Most characters of all labels together. */
const maxCharacters = 64 * 1024

export class LabelCounts {
  readonly #counts: Map<string, number>
  #truncated: boolean
  #characters = 0

  constructor({ labels = {}, truncated }: Partial<Pick<Dataset, 'labels' | 'truncated'>> = {}) {
    this.#counts = new Map(Object.entries(labels))
    this.#truncated = truncated === true
    for (const label of this.#counts.keys()) this.#characters += label.length
  }

  get counts(): Pick<Dataset, 'labels' | 'truncated'> {
    return { labels: Object.fromEntries(this.#counts), ...(this.#truncated && { truncated: true }) }
  }

  add(labels: readonly string[]): void {
    for (const label of labels) {
      const known = this.#counts.get(label)
      if (known !== undefined) this.#counts.set(label, known + 1)
      else if (this.#truncated || this.#counts.size >= maxLabels || this.#characters + label.length > maxCharacters)
        this.#truncated = true
      else {
        this.#counts.set(label, 1)
        this.#characters += label.length
      }
    }
  }

  remove(labels: readonly string[]): void {
    for (const label of labels) {
      const known = this.#counts.get(label)
      if (known === undefined) continue
      if (known > 1) this.#counts.set(label, known - 1)
      else {
        this.#counts.delete(label)
        this.#characters -= label.length
      }
    }
  }
}
