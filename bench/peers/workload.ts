// What all sides are asked: the texts of the bundled tasks in turns, each of a task drawn uniformly from as many as there
// are. The sequence depends on nothing but that number.

import { Random } from '../../src/learn/random.js'
import { mixedTexts } from '../support/material.js'
import type { PeerText } from './protocol.js'

export function workload(tasks: number, amount: number): PeerText[] {
  const random = new Random(tasks, 'workload')
  const texts = mixedTexts()
  return Array.from({ length: amount }, (_, i) => {
    const { text = '', textPair } = texts[i % texts.length] ?? {}
    return { task: random.below(tasks), text, ...(textPair !== undefined && { textPair }) }
  })
}
