// Task files and texts for the fault benchmark.

import { attackTask } from '../attacks/task-files.js'
import { taskFileBytes, withShiftedBias } from '../support/material.js'

const versionCount = 40
const small = Array.from({ length: versionCount }, (_, shift) => withShiftedBias(taskFileBytes('mrpc'), shift))

/** A task file of 7 KB. Numbers that differ modulo 40 have different contents. */
export function version(number: number): Uint8Array<ArrayBuffer> {
  const file = small[number % versionCount]
  if (file === undefined) throw new Error(`there is no version ${number}`)
  return file
}

/** A task file of 12 MB. */
export const largeFile = (): Uint8Array<ArrayBuffer> => attackTask({ labels: 2, dense: 15_300 })

/** Long texts; 100 of them keep an engine with one thread busy for seconds. Different seeds give different texts. */
export const longTexts = (count: number, seed = 0): string[] =>
  Array.from({ length: count }, (_, index) => `${'word '.repeat(200)}${seed} ${index}`)
