// The files that a learner reads: the examples of a task as JSON Lines, and its active version.

import { createWriteStream } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { exampleLine } from '../examples/example.js'
import type { ExampleStore } from '../examples/example-store.js'
import { taskKey } from '../tasks/task-key.js'
import { readActive, readVersions } from '../tasks/versions.js'
import type { Job } from './job.js'

export interface LearningData {
  readonly data: string
  /** Ids of the examples, in the order of the lines. */
  readonly ids: readonly string[]
  /** The version that was active. */
  readonly active?: { readonly digest: string; readonly file: string; readonly newLines?: string }
}

/**
 * Writes the files into a folder.
 * @param most examples; the first ones by id are an unbiased sample
 * @throws Problem `examples_deleted`; errors of the file system
 */
export async function writeLearningData(
  examples: ExampleStore,
  { owner, task, dataset }: Job,
  folder: string,
  most: number,
  signal: AbortSignal,
): Promise<LearningData> {
  const { store } = examples
  const key = taskKey(owner, task)
  const digest = readActive(store, key)?.digest
  const activeFile = digest === undefined ? undefined : store.get('files', key)
  const seenUntil = digest === undefined ? undefined : learnedUntil(readVersions(store, key), digest)
  const data = join(folder, 'examples.jsonl')
  const ids: string[] = []
  const unseen: number[] = []
  const lines = async function* () {
    for await (const page of examples.export(owner, task, dataset, most)) {
      let text = ''
      for (const example of page) {
        ids.push(example.id)
        if (seenUntil !== undefined && example.updated > seenUntil) unseen.push(ids.length)
        text += `${exampleLine(example)}\n`
      }
      yield text
    }
  }
  await pipeline(Readable.from(lines()), createWriteStream(data, { flush: false }), { signal })
  if (digest === undefined || activeFile === undefined) return { data, ids }
  const file = join(folder, 'active.safetensors')
  await writeFile(file, activeFile)
  if (seenUntil === undefined) return { data, ids, active: { digest, file } }
  const newLines = join(folder, 'new-lines.txt')
  await writeFile(newLines, unseen.map((line) => `${line}\n`).join(''))
  return { data, ids, active: { digest, file, newLines } }
}

/** Until when a version can have seen examples. Undefined if it was not learned from them. */
function learnedUntil(versions: ReturnType<typeof readVersions>, digest: string): number | undefined {
  const version = versions.find((each) => each.digest === digest)
  return version?.source.kind === 'job' && version.created !== null ? Date.parse(version.created) : undefined
}
