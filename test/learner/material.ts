// Shared by the tests of learners: data files, and requests with the bundled model.

import { readFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parse } from 'csv-parse/sync'
import type { LearnerOptions, LearnerRequest } from '../../src/learner/messages.js'
import { modelDir, prototypeFile, root, temporaryDirectory } from '../material.js'

/** The rows of an example file of the repository. */
export function exampleRows(name: string): { readonly text: string; readonly label: string }[] {
  return parse(readFileSync(join(root, 'examples', name)), { columns: true })
}

export const toLines = (rows: readonly object[]): string[] => rows.map((row) => JSON.stringify(row))

/** A request to learn from lines of JSON, without masks to start from. */
export async function requestFor(
  lines: readonly string[],
  options: Partial<LearnerOptions> = {},
): Promise<LearnerRequest> {
  const folder = await temporaryDirectory()
  const data = join(folder, 'examples.jsonl')
  const [out, masksDir] = [join(folder, 'out'), join(folder, 'masks')]
  await Promise.all([writeFile(data, lines.map((line) => `${line}\n`).join('')), mkdir(out), mkdir(masksDir)])
  return {
    ...{ directory: modelDir, prototypeFile, masksDir, data, out },
    options: { seed: 1, timeBudgetS: 20, ...options },
    threads: 1,
    memoryBytes: 4 * 2 ** 30,
  }
}
