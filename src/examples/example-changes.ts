// Changes of a task's examples: what examples would write, and the writes. Posting a text again replaces its label.

import type { Owner } from '../owner.js'
import { Problem } from '../problem.js'
import type { StoreReader, StoreWriter } from '../store/store.js'
import { type Dataset, datasetKey, newDataset, readDataset, writeDataset } from '../tasks/datasets.js'
import { taskKey } from '../tasks/task-key.js'
import { taskExists } from '../tasks/versions.js'
import { type Limits, ownerOf, type TaskOwner } from '../tenants/tenant.js'
import { charge, limitsOf, type UsageChange } from '../tenants/usage.js'
import { exampleId, labelsOf, type NewExample, type StoredExample } from './example.js'
import { LabelCounts } from './label-counts.js'

/** What a post does to the examples of a task. */
export interface PutCounts {
  readonly added: number
  /** The text was there with another label. */
  readonly replaced: number
  readonly unchanged: number
}

export const noCounts: PutCounts = { added: 0, replaced: 0, unchanged: 0 }

export const sumOf = (a: PutCounts, b: PutCounts): PutCounts => ({
  added: a.added + b.added,
  replaced: a.replaced + b.replaced,
  unchanged: a.unchanged + b.unchanged,
})

/** Largest record of an example, in bytes. */
export const maxExampleBytes = 256 * 1024

/** Most records, and bytes of them, in one transaction. */
const perChange = { records: 500, bytes: 2 << 20 } as const

/** The key of an example's record. */
export const exampleKey = (
  owner: Owner,
  id: string,
  { incarnation }: Pick<Dataset, 'incarnation'>,
  example: string,
): string => `${datasetKey(owner, id, incarnation)}/${example}`

export const examplesDeleted = (id: string): Problem =>
  new Problem('examples_deleted', `the examples of task "${id}" were deleted meanwhile`, { task: id })

export function readExample(
  records: StoreReader,
  owner: Owner,
  id: string,
  dataset: Pick<Dataset, 'incarnation'>,
  example: string,
): StoredExample | undefined {
  const bytes = records.get('examples', exampleKey(owner, id, dataset, example))
  return bytes && parseExample(example, bytes)
}

export const parseExample = (id: string, bytes: Buffer): StoredExample => ({
  id,
  ...(JSON.parse(bytes.toString()) as Omit<StoredExample, 'id'>),
})

const recordOf = ({ id: _id, ...record }: StoredExample): Buffer => Buffer.from(JSON.stringify(record))

/** Parts of bounded size, as good as can be told from the lengths of texts. */
export function* batches(examples: readonly NewExample[]): Iterable<readonly NewExample[]> {
  let batch: NewExample[] = []
  let bytes = 0
  for (const example of examples) {
    batch.push(example)
    bytes += lengthOf(example)
    if (batch.length < perChange.records && bytes < perChange.bytes) continue
    yield batch
    batch = []
    bytes = 0
  }
  if (batch.length > 0) yield batch
}

const lengthOf = ({ text = '', textPair = '', tokens = [] }: NewExample): number =>
  text.length + textPair.length + tokens.reduce((sum, word) => sum + word.length, 0)

/** The writes of a change, and what it does to the counters. */
interface Plan {
  readonly counts: PutCounts
  readonly writes: ReadonlyMap<string, Buffer>
  readonly labels: LabelCounts
  readonly change: UsageChange
}

export function putBatch(
  records: StoreWriter,
  by: TaskOwner,
  id: string,
  examples: readonly NewExample[],
  expected: string | undefined,
): { counts: PutCounts; incarnation: string } {
  const owner = ownerOf(by)
  const limits = limitsOf(records, by)
  const stored = readDataset(records, owner, id)
  if (expected !== undefined && stored?.incarnation !== expected) throw examplesDeleted(id)
  const dataset = stored ?? newDataset()
  const plan = planOf(records, owner, id, dataset, examples, Date.now())
  if (plan.writes.size > 0) writePlan(records, owner, limits, id, dataset, plan)
  return { counts: plan.counts, incarnation: dataset.incarnation }
}

/** Reads, and writes nothing. */
export function planOf(
  records: StoreReader,
  owner: Owner,
  id: string,
  dataset: Dataset | undefined,
  examples: readonly NewExample[],
  now: number,
): Plan {
  const labels = new LabelCounts(dataset)
  const writes = new Map<string, Buffer>()
  let [added, replaced, unchanged, bytes] = [0, 0, 0, 0]
  for (const given of examples) {
    const example = exampleId(given)
    const current = writes.get(example) ?? (dataset && records.get('examples', exampleKey(owner, id, dataset, example)))
    const before = current && parseExample(example, current)
    if (before && !differs(before, given)) {
      unchanged++
      continue
    }
    const record = recordOf({
      ...(before?.predicted && { predicted: before.predicted }),
      ...given,
      id: example,
      created: before?.created ?? now,
      updated: now,
    })
    if (record.byteLength > maxExampleBytes) throw tooLong(record.byteLength)
    writes.set(example, record)
    bytes += record.byteLength - (current?.byteLength ?? 0)
    if (before) {
      replaced++
      labels.remove(labelsOf(before))
    } else added++
    labels.add(labelsOf(given))
  }
  return { counts: { added, replaced, unchanged }, writes, labels, change: { bytes, examples: added } }
}

/** Whether an example says something new. */
const differs = (before: NewExample, { label, spans, predicted }: NewExample): boolean =>
  JSON.stringify([before.label, before.spans ?? []]) !== JSON.stringify([label, spans ?? []]) ||
  (predicted !== undefined && JSON.stringify(before.predicted) !== JSON.stringify(predicted))

const tooLong = (bytes: number): Problem =>
  new Problem('invalid_data', `an example would take ${bytes} bytes; the limit is ${maxExampleBytes}`)

export function writePlan(
  records: StoreWriter,
  owner: Owner,
  limits: Limits,
  id: string,
  dataset: Dataset,
  plan: Plan,
): void {
  const { writes, labels, change } = plan
  const tasks = taskExists(records, taskKey(owner, id)) ? 0 : 1
  charge(records, owner, limits, { ...change, tasks })
  for (const [example, record] of writes) records.put('examples', exampleKey(owner, id, dataset, example), record)
  writeDataset(records, owner, id, {
    ...dataset,
    examples: dataset.examples + (change.examples ?? 0),
    bytes: dataset.bytes + (change.bytes ?? 0),
    ...labels.counts,
  })
}
