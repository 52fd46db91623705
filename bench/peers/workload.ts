// The texts of the comparison: those of the bundled tasks, interleaved, each for a random task. The sequence depends only on
// the number of tasks, so that all sides get the same.

import { Random } from '../../src/learn/random.js'
import { mixedTexts } from '../support/material.js'
import type { PeerText } from './protocol.js'

export function workload(tasks: number, count: number): PeerText[] {
  const random = new Random(tasks, 'workload')
  const texts = mixedTexts()
  return Array.from({ length: count }, (_, i) => {
    const { text = '', textPair } = texts[i % texts.length] ?? {}
    return { task: random.below(tasks), text, ...(textPair !== undefined && { textPair }) }
  })
}
