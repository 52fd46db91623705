// The examples of tasks in the store. Posting a text again replaces its label, so that an interrupted post can be repeated.
// Each change is a transaction of bounded size.

import { setImmediate } from 'node:timers/promises'
import type { Owner } from '../owner.js'
import { Problem } from '../problem.js'
import type { Steps } from '../steps.js'
import { recordsIn, type Store } from '../store/store.js'
import { type Dataset, datasetKey, readDataset, removeDataset, writeDataset } from '../tasks/datasets.js'
import { taskKey } from '../tasks/task-key.js'
import { stopKeeping } from '../tasks/text-keeping.js'
import { taskExists } from '../tasks/versions.js'
import { ownerOf, type TaskOwner } from '../tenants/tenant.js'
import { charge, limitsOf, type UsageChange, usageAfter } from '../tenants/usage.js'
import { type ExampleText, exampleId, labelsOf, type NewExample, type StoredExample } from './example.js'
import {
  batches,
  exampleKey,
  examplesDeleted,
  noCounts,
  type PutCounts,
  parseExample,
  planOf,
  putBatch,
  readExample,
  sumOf,
  writePlan,
} from './example-changes.js'
import { LabelCounts } from './label-counts.js'

export type { Dataset } from '../tasks/datasets.js'

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

/** How much a page looks at, before it returns what it has found. */
const perPage = { records: 20_000, bytes: 16 << 20 } as const
/** After this time a page returns what it has found, in milliseconds. It matters when the machine is busy. */
const pageMs = 500
/** Most bytes of the records of a page. */
const pageBytes = 4 << 20
/** How much is read in one turn of the event loop. */
const perStep = { records: 50, bytes: 64 << 10 } as const

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
      const stored = readExample(records, owner, id, { incarnation }, exampleId(example))
      if (stored === undefined) throw new Error('an example that was written cannot be read')
      return { stored, counts }
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
    return (text) =>
      dataset !== undefined && this.store.get('examples', exampleKey(owner, id, dataset, exampleId(text))) !== undefined
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
      const key = dataset && exampleKey(owner, id, dataset, example)
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
    dataset: Dataset,
    after: string,
    ids?: readonly string[],
  ): Iterable<readonly [string, Buffer]> {
    if (ids === undefined) {
      const folder = datasetKey(owner, id, dataset.incarnation)
      const start = folder.length + 1
      for (const [key, bytes] of this.store.range('examples', recordsIn(folder, after))) yield [key.slice(start), bytes]
      return
    }
    for (const example of ids.slice(after === '' ? 0 : ids.indexOf(after) + 1)) {
      const bytes = this.store.get('examples', exampleKey(owner, id, dataset, example))
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
