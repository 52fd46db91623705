// Labels of dev or test examples that the task was not trained on. They count as wrong predictions.

import { quotedList } from '../problem.js'
import { detached } from './detached.js'

/** Bounds the memory for a file whose labels are those of another task. Further labels count as one. */
const maxNames = 1000

const maxShown = 5

export class UnlearnedLabels {
  readonly #indexes = new Map<string, number>()
  #count = 0
  #firstPlace = ''

  /** Number of different labels so far. */
  get size(): number {
    return this.#indexes.size
  }

  get names(): readonly string[] {
    return [...this.#indexes.keys()]
  }

  /** The index of a label among the labels that were not learned. */
  indexOf(label: string, place: string): number {
    if (this.#count++ === 0) this.#firstPlace = place
    const known = this.#indexes.get(label)
    if (known !== undefined) return known
    const index = Math.min(this.#indexes.size, maxNames - 1)
    if (this.#indexes.size < maxNames) this.#indexes.set(detached(label), index)
    return index
  }

  /** A sentence for a warning; undefined if all labels were learned. */
  get warning(): string | undefined {
    if (this.#count === 0) return undefined
    return (
      `${this.#firstPlace}: ${quotedList(this.names, maxShown)} ${this.size === 1 ? 'is not a label' : 'are not labels'} of the task; ` +
      `${this.#count} ${this.#count === 1 ? 'label counts' : 'labels count'} as predicted wrongly`
    )
  }
}
