// Texts that an engine was computing when it was lost. Most of them only shared a batch with the text that is at fault, if
// any is. A suspect text therefore gets a batch of its own the next time, and a result clears it. A text that was there when
// two engines were lost is rejected for a while, so that one text cannot make all engines hang.

import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { EngineRow } from '../engine/engine.js'

/** Engines that may be lost with a text before it is rejected. */
const maxLosses = 2
/** How long a text is remembered, in milliseconds. */
const rememberedMs = 600_000
/** Texts that are remembered. */
const maxTexts = 10_000

/** A text without its task: all tasks run on the same backbone. */
type Text = Pick<EngineRow, 'inputIds' | 'tokenTypeIds'>

export class SuspectTexts {
  /** Losses by the digest of the text. */
  readonly #losses = new LRUCache<string, number>({ max: maxTexts, ttl: rememberedMs })

  /** Whether the text has to run alone. */
  isSuspect(text: Text): boolean {
    return this.#lossesOf(text) > 0
  }

  /** Whether the text must not run. */
  isRejected(text: Text): boolean {
    return this.#lossesOf(text) >= maxLosses
  }

  /** Records that an engine was lost while it computed the texts. @returns how many of them are rejected from now on */
  recordLoss(texts: readonly Text[]): number {
    const digests = new Set(texts.map(digestOf))
    for (const digest of digests) this.#losses.set(digest, (this.#losses.get(digest) ?? 0) + 1)
    return Array.from(digests).filter((digest) => this.#losses.get(digest) === maxLosses).length
  }

  /** Records that the text was computed. */
  clear(text: Text): void {
    if (this.#losses.size > 0) this.#losses.delete(digestOf(text))
  }

  #lossesOf(text: Text): number {
    return this.#losses.size === 0 ? 0 : (this.#losses.get(digestOf(text)) ?? 0)
  }
}

const digestOf = ({ inputIds, tokenTypeIds }: Text): string =>
  createHash('sha256').update(Int32Array.from(inputIds)).update(Int32Array.from(tokenTypeIds)).digest('base64')
