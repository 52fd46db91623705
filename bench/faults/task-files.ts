// Files and texts that faults are tried with.

import { attackTask } from '../attacks/task-files.js'
import { taskFileBytes, withShiftedBias } from '../support/material.js'

const versionCount = 40
const small = Array.from({ length: versionCount }, (_, shift) => withShiftedBias(taskFileBytes('mrpc'), shift))

/** A task file of 7 KB; other numbers have other contents, up to 40 of them. */
export function version(number: number): Uint8Array<ArrayBuffer> {
  const file = small[number % versionCount]
  if (file === undefined) throw new Error(`there is no version ${number}`)
  return file
}

/** A task file of 12 MB. */
export const largeFile = (): Uint8Array<ArrayBuffer> => attackTask({ labels: 2, dense: 15_300 })

/** Texts that an engine computes for long: some seconds on one thread. Those of other seeds are others. */
export const longTexts = (count: number, seed = 0): string[] =>
  Array.from({ length: count }, (_, index) => `${'word '.repeat(200)}${seed} ${index}`)
