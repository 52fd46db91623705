// The examples of tasks in the store. Posting a text again replaces its label, so that an interrupted post can be repeated.
// Each change is a transaction of bounded size.

import { setImmediate } from 'node:timers/promises'
import type { Owner } from '../owner.js'
import { Problem } from '../problem.js'
import type { Steps } from '../steps.js'
import { recordsIn, type Store, type StoreReader, type StoreWriter } from '../store/store.js'
import { type Dataset, datasetKey, newDataset, readDataset, removeDataset, writeDataset } from '../tasks/datasets.js'
import { taskKey } from '../tasks/task-key.js'
import { stopKeeping } from '../tasks/text-keeping.js'
import { taskExists } from '../tasks/versions.js'
import { type Limits, ownerOf, type TaskOwner } from '../tenants/tenant.js'
import { charge, limitsOf, type UsageChange, usageAfter } from '../tenants/usage.js'
import { type ExampleText, exampleId, labelsOf, type NewExample, type StoredExample } from './example.js'
import { LabelCounts } from './label-counts.js'

export type { Dataset } from '../tasks/datasets.js'

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

export interface ExampleQuery {
  /** Only examples whose ids come after this one. */
  readonly after?: string | undefined
  /** The most examples of a page. */
  readonly limit: number
  /** Only examples with this label, or with a word or a part that has it. */
  readonly label?: string | undefined
  /** Only examples whose texts contain this. Upper and lower case make no difference. */
  readonly search?: string | undefined
  /** Only these, in this order; `after` must be one of them. */
  readonly ids?: readonly string[] | undefined
}

export interface ExamplePage {
  readonly examples: readonly StoredExample[]
  /** The last example that was looked at, if there may be more. The page may have fewer examples than asked for. */
  readonly next: string | null
  /** Of the records of the page. */
  readonly bytes: number
}

const emptyPage: ExamplePage = { examples: [], next: null, bytes: 0 }

/** Most records, and bytes of them, in one transaction or one page of an export. */
const perChange = { records: 500, bytes: 2 << 20 } as const

/** How much a page looks at, before it returns what it has found. */
const perPage = { records: 20_000, bytes: 16 << 20 } as const
/** After this time a page returns what it has found, in milliseconds. It matters when the machine is busy. */
const pageMs = 500
/** Most bytes of the records of a page. */
const pageBytes = 4 << 20
/** How much is read in one turn of the event loop. */
const perStep = { records: 50, bytes: 64 << 10 } as const

/** Largest record of an example, in bytes. */
export const maxExampleBytes = 256 * 1024

export class ExampleStore {
  constructor(readonly store: Store) {}

  dataset(owner: Owner, id: string): Dataset | undefined {
    return readDataset(this.store, owner, id)
  }

  /**
   * Adds examples, or replaces the labels of those whose texts are there already. Resolves once all are stored durably. It
   * makes several transactions: after an error, some may be stored, and the same call can be repeated.
   * @param incarnation the dataset that examples before these went to. It must still exist
   * @returns what was done, and the dataset
   * @throws Problem `quota_exceeded`, `unknown_tenant`, `examples_deleted`, those of the store
   */
  async put(
    by: TaskOwner,
    id: string,
    examples: readonly NewExample[],
    incarnation?: string,
  ): Promise<PutCounts & { readonly incarnation: string | undefined }> {
    let counts = noCounts
    let expected = incarnation
    for (const batch of batches(examples)) {
      const put = await this.store.change((records) => putBatch(records, by, id, batch, expected), ownerOf(by))
      counts = sumOf(counts, put.counts)
      expected = put.incarnation
    }
    return { ...counts, incarnation: expected }
  }

  /** Adds one example, or replaces its label. @throws Problem as `put` */
  async putOne(
    by: TaskOwner,
    id: string,
    example: NewExample,
  ): Promise<{ readonly stored: StoredExample; readonly counts: PutCounts }> {
    const owner = ownerOf(by)
    return this.store.change((records) => {
      const { counts, incarnation } = putBatch(records, by, id, [example], undefined)
      const key = `${datasetKey(owner, id, incarnation)}/${exampleId(example)}`
      const bytes = records.get('examples', key)
      if (bytes === undefined) throw new Error('an example that was written cannot be read')
      return { stored: parseExample(exampleId(example), bytes), counts }
    }, owner)
  }

  /** What `put` would do, if no text occurs twice. */
  compare(owner: Owner, id: string, examples: readonly NewExample[]): PutCounts & { readonly bytes: number } {
    const { counts, change } = planOf(this.store, owner, id, this.dataset(owner, id), examples, 0)
    return { ...counts, bytes: change.bytes ?? 0 }
  }

  /**
   * Rejects examples that would exceed the quotas, before any is stored.
   * @throws Problem `quota_exceeded`, `unknown_tenant`
   */
  checkRoom(by: TaskOwner, id: string, change: Pick<UsageChange, 'bytes' | 'examples'>): void {
    const owner = ownerOf(by)
    const tasks = taskExists(this.store, taskKey(owner, id)) ? 0 : 1
    usageAfter(this.store, owner, limitsOf(this.store, by), { ...change, tasks })
  }

  /** Says of a text whether it is an example of the task. */
  knownTexts(owner: Owner, id: string): (text: ExampleText) => boolean {
    const dataset = this.dataset(owner, id)
    const folder = dataset && datasetKey(owner, id, dataset.incarnation)
    return (text) => folder !== undefined && this.store.get('examples', `${folder}/${exampleId(text)}`) !== undefined
  }

  get(owner: Owner, id: string, example: string): StoredExample | undefined {
    const dataset = this.dataset(owner, id)
    return dataset && readExample(this.store, owner, id, dataset, example)
  }

  /**
   * Changes one example.
   * @throws Problem `unknown_example`, `quota_exceeded`, `unknown_tenant`
   */
  async patch(
    by: TaskOwner,
    id: string,
    example: string,
    change: (current: StoredExample) => Pick<NewExample, 'label' | 'spans'>,
  ): Promise<StoredExample> {
    const owner = ownerOf(by)
    const now = Date.now()
    return this.store.change((records) => {
      const limits = limitsOf(records, by)
      const dataset = readDataset(records, owner, id)
      const current = dataset && readExample(records, owner, id, dataset, example)
      if (dataset === undefined || current === undefined) throw unknownExample(id, example)
      const { spans: _spans, ...others } = current
      const changed: StoredExample = { ...others, ...change(current), updated: now }
      const plan = planOf(records, owner, id, dataset, [changed], now)
      if (plan.writes.size === 0) return current
      writePlan(records, owner, limits, id, dataset, plan)
      return changed
    }, owner)
  }

  /** Deletes one example. @throws Problem `unknown_example`, `unknown_tenant` */
  async delete(by: TaskOwner, id: string, example: string): Promise<StoredExample> {
    const owner = ownerOf(by)
    return this.store.change((records) => {
      const limits = limitsOf(records, by)
      const dataset = readDataset(records, owner, id)
      const key = dataset && `${datasetKey(owner, id, dataset.incarnation)}/${example}`
      const bytes = key === undefined ? undefined : records.get('examples', key)
      if (dataset === undefined || key === undefined || bytes === undefined) throw unknownExample(id, example)
      const removed = parseExample(example, bytes)
      const labels = new LabelCounts(dataset)
      labels.remove(labelsOf(removed))
      charge(records, owner, limits, { examples: -1, bytes: -bytes.byteLength })
      records.remove('examples', key)
      writeDataset(records, owner, id, {
        ...dataset,
        examples: dataset.examples - 1,
        bytes: dataset.bytes - bytes.byteLength,
        ...labels.counts,
      })
      return removed
    }, owner)
  }

  /**
   * Deletes all examples of a task. A draft ceases to exist.
   * @returns the dataset that was deleted; undefined if there was none
   * @throws Problem `unknown_tenant`
   */
  async deleteAll(by: TaskOwner, id: string): Promise<Dataset | undefined> {
    const owner = ownerOf(by)
    return this.store.change((records) => {
      const limits = limitsOf(records, by)
      const dataset = readDataset(records, owner, id)
      if (dataset === undefined) return undefined
      const { bytes = 0, examples = 0 } = removeDataset(records, owner, id)
      const key = taskKey(owner, id)
      const isGone = !taskExists(records, key)
      const kept = isGone ? stopKeeping(records, key) : 0
      charge(records, owner, limits, { bytes: bytes - kept, examples, tasks: isGone ? -1 : 0 })
      return dataset
    }, owner)
  }

  /** A page of the examples of a task, in the order of their ids. It looks at a bounded number of them. */
  *page(owner: Owner, id: string, query: ExampleQuery): Steps<ExamplePage> {
    const dataset = this.dataset(owner, id)
    if (dataset === undefined) return emptyPage
    const { label, limit } = query
    // Counts are kept of all labels, unless there are too many.
    if (label !== undefined && !dataset.truncated && !Object.hasOwn(dataset.labels, label)) return emptyPage
    const until = performance.now() + pageMs
    const found: StoredExample[] = []
    const seen = { records: 0, bytes: 0, found: 0 }
    const matches = matcher(query)
    let last = query.after ?? ''
    for (;;) {
      const step = { records: 0, bytes: 0 }
      let isComplete = true
      for (const [example, bytes] of this.#records(owner, id, dataset, last, query.ids)) {
        last = example
        step.records++
        step.bytes += bytes.byteLength
        const parsed = parseExample(example, bytes)
        if (matches(parsed)) {
          found.push(parsed)
          seen.found += bytes.byteLength
        }
        if (found.length === limit || seen.found >= pageBytes || isFull(step, perStep)) {
          isComplete = false
          break
        }
      }
      if (isComplete) return { examples: found, next: null, bytes: seen.found }
      seen.records += step.records
      seen.bytes += step.bytes
      if (found.length === limit || seen.found >= pageBytes || isFull(seen, perPage) || performance.now() > until)
        return { examples: found, next: last, bytes: seen.found }
      yield
    }
  }

  /**
   * All examples of a dataset in the order of their ids, in pages.
   * @param most examples
   * @throws Problem `examples_deleted` if the dataset is deleted meanwhile
   */
  async *export(owner: Owner, id: string, incarnation: string, most: number): AsyncGenerator<StoredExample[]> {
    let left = most
    for (let after = ''; left > 0; ) {
      const dataset = this.dataset(owner, id)
      if (dataset?.incarnation !== incarnation) throw examplesDeleted(id)
      const page: StoredExample[] = []
      const size = { records: 0, bytes: 0 }
      for (const [example, bytes] of this.#records(owner, id, dataset, after)) {
        page.push(parseExample(example, bytes))
        size.records++
        size.bytes += bytes.byteLength
        if (page.length === left || isFull(size, perStep)) break
      }
      const last = page.at(-1)
      if (last === undefined) return
      after = last.id
      left -= page.length
      yield page
      // Lets requests be handled in between.
      await setImmediate()
    }
  }

  *#records(
    owner: Owner,
    id: string,
    { incarnation }: Dataset,
    after: string,
    ids?: readonly string[],
  ): Iterable<readonly [string, Buffer]> {
    const folder = datasetKey(owner, id, incarnation)
    if (ids === undefined) {
      const start = folder.length + 1
      for (const [key, bytes] of this.store.range('examples', recordsIn(folder, after))) yield [key.slice(start), bytes]
      return
    }
    for (const example of ids.slice(after === '' ? 0 : ids.indexOf(after) + 1)) {
      const bytes = this.store.get('examples', `${folder}/${example}`)
      if (bytes) yield [example, bytes]
    }
  }
}

const isFull = (size: { records: number; bytes: number }, most: { records: number; bytes: number }): boolean =>
  size.records >= most.records || size.bytes >= most.bytes

function matcher({ label, search }: ExampleQuery): (example: StoredExample) => boolean {
  const wanted = search?.toLowerCase()
  const contains = (text: string | undefined) => wanted === undefined || text?.toLowerCase().includes(wanted) === true
  return (example) =>
    (label === undefined || labelsOf(example).includes(label)) &&
    (wanted === undefined ||
      contains(example.text) ||
      contains(example.textPair) ||
      contains(example.tokens?.join(' ')))
}

export const unknownExample = (id: string, example: string): Problem =>
  new Problem('unknown_example', `task "${id}" has no example "${example}"; GET /tasks/${id}/examples lists them`, {
    task: id,
    example,
  })

export const examplesDeleted = (id: string): Problem =>
  new Problem('examples_deleted', `the examples of task "${id}" were deleted meanwhile`, { task: id })

function readExample(
  records: StoreReader,
  owner: Owner,
  id: string,
  { incarnation }: Dataset,
  example: string,
): StoredExample | undefined {
  const bytes = records.get('examples', `${datasetKey(owner, id, incarnation)}/${example}`)
  return bytes && parseExample(example, bytes)
}

const parseExample = (id: string, bytes: Buffer): StoredExample => ({
  id,
  ...(JSON.parse(bytes.toString()) as Omit<StoredExample, 'id'>),
})

const recordOf = ({ id: _id, ...record }: StoredExample): Buffer => Buffer.from(JSON.stringify(record))

/** Parts of bounded size, as good as can be told from the lengths of texts. */
function* batches(examples: readonly NewExample[]): Iterable<readonly NewExample[]> {
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

function putBatch(
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
function planOf(
  records: StoreReader,
  owner: Owner,
  id: string,
  dataset: Dataset | undefined,
  examples: readonly NewExample[],
  now: number,
): Plan {
  const labels = new LabelCounts(dataset)
  const writes = new Map<string, Buffer>()
  const folder = dataset && datasetKey(owner, id, dataset.incarnation)
  let [added, replaced, unchanged, bytes] = [0, 0, 0, 0]
  for (const given of examples) {
    const example = exampleId(given)
    const current =
      writes.get(example) ?? (folder === undefined ? undefined : records.get('examples', `${folder}/${example}`))
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

function writePlan(records: StoreWriter, owner: Owner, limits: Limits, id: string, dataset: Dataset, plan: Plan): void {
  const { writes, labels, change } = plan
  const tasks = taskExists(records, taskKey(owner, id)) ? 0 : 1
  charge(records, owner, limits, { ...change, tasks })
  const folder = datasetKey(owner, id, dataset.incarnation)
  for (const [example, record] of writes) records.put('examples', `${folder}/${example}`, record)
  writeDataset(records, owner, id, {
    ...dataset,
    examples: dataset.examples + (change.examples ?? 0),
    bytes: dataset.bytes + (change.bytes ?? 0),
    ...labels.counts,
  })
}
