// Texts that an engine was computing when it was lost. Most of them were only in the same batch as the text that is at
// fault, if any is: each gets a batch of its own when it comes again, and is cleared by an answer. One that is there when a
// second engine is lost is refused for a while, so that a text on which engines hang does not take one after the other.

import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { EngineRow } from '../engine/engine.js'

/** Engines that a text may have lost before it is refused. */
const lossesAtMost = 2
/** How long a text is remembered, in milliseconds. */
const rememberedMs = 600_000
/** Texts that are remembered. */
const mostTexts = 10_000

/** Of a text, whatever its task: the backbone that computes it is the same. */
type Text = Pick<EngineRow, 'inputIds' | 'tokenTypeIds'>

export class SuspectTexts {
  /** Losses by the digest of the text. */
  readonly #losses = new LRUCache<string, number>({ max: mostTexts, ttl: rememberedMs })

  /** Whether the text runs alone. */
  isSuspect(text: Text): boolean {
    return this.#lossesOf(text) > 0
  }

  /** Whether the text is not computed any more. */
  isRejected(text: Text): boolean {
    return this.#lossesOf(text) >= lossesAtMost
  }

  /** An engine was lost while it computed the texts. @returns how many of them are refused from now on */
  lost(texts: readonly Text[]): number {
    const digests = new Set(texts.map(digestOf))
    for (const digest of digests) this.#losses.set(digest, (this.#losses.get(digest) ?? 0) + 1)
    return Array.from(digests).filter((digest) => this.#losses.get(digest) === lossesAtMost).length
  }

  /** The text was computed. */
  clear(text: Text): void {
    if (this.#losses.size > 0) this.#losses.delete(digestOf(text))
  }

  #lossesOf(text: Text): number {
    return this.#losses.size === 0 ? 0 : (this.#losses.get(digestOf(text)) ?? 0)
  }
}

const digestOf = ({ inputIds, tokenTypeIds }: Text): string =>
  createHash('sha256').update(Int32Array.from(inputIds)).update(Int32Array.from(tokenTypeIds)).digest('base64')
