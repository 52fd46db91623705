// The record of the examples that a task has: how many, which labels, and where they are. A task may have examples and no
// version yet; then it is a draft. The examples themselves are read and written in src/examples.

import { randomBytes } from 'node:crypto'
import type { Owner } from '../owner.js'
import type { StoreReader, StoreWriter } from '../store/store.js'
import type { UsageChange } from '../tenants/usage.js'
import { taskKey } from './task-key.js'

export interface Dataset {
  /** Random. Examples that are posted after all were deleted belong to another dataset. */
  readonly incarnation: string
  readonly examples: number
  /** Bytes of their records. */
  readonly bytes: number
  /** How many examples have each label. */
  readonly labels: Readonly<Record<string, number>>
  /** There are labels that `labels` does not count. */
  readonly truncated?: true
}

/** A dataset without examples. */
export const newDataset = (): Dataset => ({
  incarnation: randomBytes(4).toString('hex'),
  examples: 0,
  bytes: 0,
  labels: {},
})

export function readDataset(records: StoreReader, owner: Owner, id: string): Dataset | undefined {
  const bytes = records.get('datasets', taskKey(owner, id))
  return bytes && (JSON.parse(bytes.toString()) as Dataset)
}

export function writeDataset(records: StoreWriter, owner: Owner, id: string, dataset: Dataset): void {
  records.put('datasets', taskKey(owner, id), Buffer.from(JSON.stringify(dataset)))
}

/** The common start of the keys of a dataset's records, without the "/" after it. */
export const datasetKey = (owner: Owner, id: string, incarnation: string): string =>
  `${taskKey(owner, id)}/${incarnation}`

/**
 * Removes the record of a dataset. Its examples cannot be read from then on. They are deleted in the background.
 * @returns the change of the owner's usage, apart from the number of tasks
 */
export function removeDataset(records: StoreWriter, owner: Owner, id: string): UsageChange {
  const dataset = readDataset(records, owner, id)
  if (dataset === undefined) return {}
  records.remove('datasets', taskKey(owner, id))
  records.put('removals', datasetKey(owner, id, dataset.incarnation), new Uint8Array())
  return { bytes: -dataset.bytes, examples: -dataset.examples }
}
