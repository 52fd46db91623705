// The held-out examples that the newest job of a task predicted otherwise than they are labelled. They are kept for the page
// on which a person corrects labels.

import type { Owner } from '../owner.js'
import type { StoreReader, StoreWriter } from '../store/store.js'
import { readDataset } from '../tasks/datasets.js'
import { disagreementsKey } from '../tasks/task-key.js'
import type { Job } from './job.js'

/** A prediction of a held-out example that differs from its label. */
export interface Disagreement {
  /** Id of the example. */
  readonly id: string
  /** As the task predicts it: a label, the labels that apply or those of the words, or a number. */
  readonly label: string | number | readonly string[]
  /** How sure the prediction is. */
  readonly score: number
}

interface Disagreements {
  readonly job: string
  /** Digest of the version that predicted. */
  readonly version: string
  /** Incarnation of the dataset. */
  readonly dataset: string
  readonly wrong: readonly Disagreement[]
}

/** Most bytes of what is kept for a task. */
const maxBytes = 256 * 1024

/** Those of the newest job that has succeeded, the surest predictions first. */
export function disagreementsOf(
  records: StoreReader,
  owner: Owner,
  task: string,
): readonly (Disagreement & { readonly version: string })[] {
  const bytes = records.get('jobs', disagreementsKey(owner, task))
  if (bytes === undefined) return []
  const { dataset, version, wrong } = JSON.parse(bytes.toString()) as Disagreements
  if (readDataset(records, owner, task)?.incarnation !== dataset) return []
  return wrong.map((each) => ({ ...each, version }))
}

/** Replaces those of the job before. Only the first ones are kept if they are too large. */
export function writeDisagreements(
  records: StoreWriter,
  { id, owner, task, dataset }: Job,
  version: string,
  wrong: readonly Disagreement[],
): void {
  let bytes = 0
  const kept = wrong.filter((each) => {
    bytes += Buffer.byteLength(JSON.stringify(each)) + 1
    return bytes <= maxBytes
  })
  const found: Disagreements = { job: id, version, dataset, wrong: kept }
  records.put('jobs', disagreementsKey(owner, task), Buffer.from(JSON.stringify(found)))
}
