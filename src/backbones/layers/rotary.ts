// Rotary positions (Su et al. 2021, arXiv 2104.09864): each pair of elements of a query or key is rotated by an angle that
// grows with the token's position. Element i of a head makes a pair with element i + size/2, as in transformers.

import { bytesOf, type GraphBuilder, type Value } from '../../graph/graph.js'
import { gather, reshape, rotaryEmbedding } from '../../graph/operators.js'

/** The angles of all tokens. */
export interface Rotation {
  /** Float32 [T, head size / 2], and so are the sines. */
  readonly cosines: Value
  readonly sines: Value
}

/** The angle per position of each pair: theta^(−2i/size), 0 ≤ i < size/2. */
export const rotaryFrequencies = (theta: number, headSize: number): readonly number[] =>
  Array.from({ length: headSize / 2 }, (_, i) => theta ** ((-2 * i) / headSize))

/**
 * @param name of the constants; each rotation of a graph has its own
 * @param positions int32 [T]: position of each packed token in its row, from 0
 * @param maxTokens length of the longest row
 */
export function rotation(
  g: GraphBuilder,
  name: string,
  frequencies: readonly number[],
  positions: Value,
  maxTokens: number,
): Rotation {
  const pairs = frequencies.length
  const lookedUp = (part: string, of: (angle: number) => number) => {
    const table = new Float32Array(maxTokens * pairs)
    // transformers computes angles in float32. Those of large positions differ from exact ones.
    for (let position = 0; position < maxTokens; position++)
      for (const [pair, frequency] of frequencies.entries())
        table[position * pairs + pair] = of(Math.fround(position * Math.fround(frequency)))
    return gather(g, g.constant(`${name}.${part}`, 'float32', [maxTokens, pairs], bytesOf(table)), positions)
  }
  return { cosines: lookedUp('cosines', Math.cos), sines: lookedUp('sines', Math.sin) }
}

/** Rotates each head of each token of x, packed [T,H]. */
export function rotate(g: GraphBuilder, x: Value, { cosines, sines }: Rotation): Value {
  const [T = 'T', H = 0] = x.shape
  return reshape(g, rotaryEmbedding(g, reshape(g, x, [1, T, H]), cosines, sines), [-1, H], T)
}
