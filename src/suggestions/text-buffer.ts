// Texts that wait to be written to the store, or to be sent to the process that writes it. Each task keeps its least sure
// ones, and an owner gets at most half of the memory that is free, so that a flood of one owner costs the others nothing.

import { type Holding, Pool } from '../costs/pool.js'
import type { Owner } from '../owner.js'
import type { PredictedText } from '../tasks/text-collection.js'

/** A text that was seen lately. */
export interface SeenText extends PredictedText {
  /** When it was last seen, in milliseconds of the epoch. */
  readonly at: number
  /** How often it was seen. */
  readonly seen: number
}

/** Texts of one task. */
export interface CollectedTexts {
  readonly owner: Owner
  readonly task: string
  /** Of the keeping that they were collected for. */
  readonly incarnation: string
  /** The least sure first. */
  readonly texts: readonly SeenText[]
}

/** Most bytes of a text with its pair. Longer ones are not kept. */
const maxTextBytes = 8 * 1024
/** Most characters of the labels and words of a text. */
const maxLabelCharacters = 24 * 1024
/** Most texts of a task that are taken at once. */
export const mostTogether = 100
/** Estimated memory of a text, and of each of its labels and words, in addition to the characters, in bytes. */
const bytesAround = { text: 500, label: 50 }

interface Entry {
  readonly text: SeenText
  readonly bytes: number
}

interface TaskTexts {
  readonly owner: Owner
  readonly task: string
  readonly incarnation: string
  readonly holding: Holding
  /** By text and pair. */
  entries: Map<string, Entry>
  /** Texts that are less unsure were pruned. */
  floor: number
}

export class TextBuffer {
  readonly #pool: Pool
  #tasks = new Map<string, TaskTexts>()
  #dropped = 0

  /** @param maxBytes of memory, for the texts of all owners */
  constructor(maxBytes: number) {
    this.#pool = new Pool('texts that wait to be kept', maxBytes)
  }

  /** Memory of its texts, in bytes, approximately. */
  get bytes(): number {
    return this.#pool.held
  }

  /** How many texts were dropped because there was no memory for them. */
  get dropped(): number {
    return this.#dropped
  }

  add(owner: Owner, task: string, incarnation: string, text: SeenText): void {
    const key = keyOf(owner, task, incarnation)
    const known = this.#tasks.get(key)
    // Also if it is not a number.
    if (!(text.uncertainty >= (known?.floor ?? 0))) return
    const textKey = `${text.text}\0${text.textPair ?? ''}`
    const before = known?.entries.get(textKey)
    if (before !== undefined) {
      const { bytes } = before
      known?.entries.set(textKey, { text: { ...text, seen: before.text.seen + text.seen }, bytes })
      return
    }
    const bytes = memoryOf(text)
    if (bytes === undefined) return
    const isFull = bytes > this.#pool.roomFor(owner)
    if (isFull && known !== undefined) prune(known, Math.ceil(known.entries.size / 2))
    if (bytes > this.#pool.roomFor(owner)) {
      this.#dropped++
      return
    }
    const own = known ?? this.#begin(key, owner, task, incarnation)
    own.holding.add(bytes)
    own.entries.set(textKey, { text, bytes })
    // Sorts once for many texts.
    if (own.entries.size >= 2 * mostTogether) prune(own, mostTogether)
  }

  /** The text of a request, if it is still here. */
  find(owner: Owner, task: string, incarnation: string, requestId: string, index: number): SeenText | undefined {
    for (const { text } of this.#tasks.get(keyOf(owner, task, incarnation))?.entries.values() ?? [])
      if (text.requestId === requestId && text.index === index) return text
    return undefined
  }

  #begin(key: string, owner: Owner, task: string, incarnation: string): TaskTexts {
    const holding = this.#pool.take(owner, 0)
    const begun = { owner, task, incarnation, holding, entries: new Map<string, Entry>(), floor: 0 }
    this.#tasks.set(key, begun)
    return begun
  }

  /** Takes all texts out: of each task the least sure ones. */
  take(): CollectedTexts[] {
    const tasks = [...this.#tasks.values()]
    this.#tasks = new Map()
    return tasks.map((each) => {
      prune(each, mostTogether)
      each.holding.release()
      const { owner, task, incarnation, entries } = each
      return { owner, task, incarnation, texts: Array.from(entries.values(), ({ text }) => text) }
    })
  }
}

const keyOf = (owner: Owner, task: string, incarnation: string): string => `${owner}/${task}/${incarnation}`

/** Keeps the least sure texts, in this order. */
function prune(task: TaskTexts, most: number): void {
  const sorted = [...task.entries].sort(([, a], [, b]) => b.text.uncertainty - a.text.uncertainty)
  for (const [, { bytes }] of sorted.slice(most)) task.holding.add(-bytes)
  task.entries = new Map(sorted.slice(0, most))
  if (sorted.length > most) task.floor = sorted[most - 1]?.[1].text.uncertainty ?? task.floor
}

/** Memory of a text, in bytes; undefined if it is too long to be kept. */
function memoryOf({ text, textPair = '', label, tokens = [] }: SeenText): number | undefined {
  const characters = text.length + textPair.length
  if (characters > maxTextBytes || Buffer.byteLength(text) + Buffer.byteLength(textPair) > maxTextBytes)
    return undefined
  const labels = typeof label === 'string' ? [label] : label
  const most = maxLabelCharacters
  if (labels.length + tokens.length > most) return undefined
  const inLabels = [...labels, ...tokens].reduce((sum, each) => sum + each.length, 0)
  if (inLabels > most) return undefined
  return bytesAround.text + 2 * (characters + inLabels) + bytesAround.label * (labels.length + tokens.length)
}
