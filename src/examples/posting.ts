// Stores the examples of a file, after all of it was checked.

import { ownerOf, type TaskOwner } from '../tenants/tenant.js'
import { noCounts, type PutCounts, sumOf } from './example-changes.js'
import type { ExampleFile } from './example-file.js'
import type { ExampleStore } from './example-store.js'
import type { FileReport } from './file-reading.js'

export interface Posted extends PutCounts {
  readonly report: FileReport
}

/** Most bytes of what a record has in addition to texts and labels: times, and who sent it. */
const recordBytes = 256

/**
 * @param isDryRun whether nothing is stored
 * @throws Problem `invalid_data`, `quota_exceeded`: before anything is stored; those of the store: then some examples may be
 *   stored, and the same file can be posted again
 */
export async function postFile(
  examples: ExampleStore,
  by: TaskOwner,
  id: string,
  file: ExampleFile,
  isDryRun: boolean,
): Promise<Posted> {
  const report = await file.survey()
  const most = { examples: report.examples, bytes: report.bytes + recordBytes * report.examples }
  if (isDryRun || !fits(examples, by, id, most)) {
    const { bytes, ...counts } = await compared(examples, by, id, file)
    examples.checkRoom(by, id, { examples: counts.added, bytes })
    if (isDryRun) return { ...counts, report }
  }
  let counts: PutCounts = noCounts
  let incarnation: string | undefined
  for await (const batch of file.batches(false)) {
    const put = await examples.put(by, id, batch.examples, incarnation)
    counts = sumOf(counts, put)
    incarnation = put.incarnation
  }
  return { ...counts, report }
}

function fits(examples: ExampleStore, by: TaskOwner, id: string, change: { examples: number; bytes: number }): boolean {
  try {
    examples.checkRoom(by, id, change)
    return true
  } catch {
    return false
  }
}

/** What posting a file would do. */
async function compared(
  examples: ExampleStore,
  by: TaskOwner,
  id: string,
  file: ExampleFile,
): Promise<PutCounts & { readonly bytes: number }> {
  let counts: PutCounts = noCounts
  let bytes = 0
  for await (const { examples: some, repeated } of file.batches(true)) {
    const compared = examples.compare(ownerOf(by), id, some)
    counts = sumOf(sumOf(counts, compared), { added: 0, replaced: repeated.other, unchanged: repeated.same })
    bytes += compared.bytes
  }
  return { ...counts, bytes }
}
