// Seeded random numbers. Each purpose has its own sequence, so that draws for one purpose do not change another's.

import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64'
import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'

export class Random {
  readonly #generator

  /** @param purpose a name; with the same seed, each purpose gives a different sequence */
  constructor(seed: number, purpose: string) {
    let hash = seed | 0
    for (const character of purpose) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193) + 0x9e3779b9
    this.#generator = xoroshiro128plus(hash)
    this.#generator.jump()
  }

  /** A whole number from 0 to `limit` − 1. */
  below(limit: number): number {
    return uniformInt(this.#generator, 0, limit - 1)
  }

  /** `count` numbers from −bound to bound. */
  uniform(count: number, bound: number): Float32Array {
    return Float32Array.from({ length: count }, () => bound * (2 * uniformFloat64(this.#generator) - 1))
  }

  /** `count` normally distributed numbers with mean 0 (Box and Muller 1958). */
  normal(count: number, deviation: number): Float32Array {
    return Float32Array.from({ length: count }, () => {
      const radius = Math.sqrt(-2 * Math.log(1 - uniformFloat64(this.#generator)))
      return deviation * radius * Math.cos(2 * Math.PI * uniformFloat64(this.#generator))
    })
  }

  /** 0 to count − 1 in random order (Fisher and Yates). */
  order(count: number): Int32Array {
    const order = Int32Array.from({ length: count }, (_, i) => i)
    for (let last = count - 1; last > 0; last--) {
      const other = this.below(last + 1)
      const kept = order[last] ?? 0
      order[last] = order[other] ?? 0
      order[other] = kept
    }
    return order
  }
}
