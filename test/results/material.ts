// Invented finished runs, and temporary folders that are removed after the tests.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import type { ComparedMethod } from '../../bench/results/compared-methods.js'
import { type FinishedRun, runFormat } from '../../bench/results/run.js'

export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'propetl-results-'))
  after(() => rm(folder, { recursive: true }))
  return folder
}

/** A finished run with the given scores by task. */
export const inventedRun = (
  method: ComparedMethod,
  seed: number,
  scores: Readonly<Record<string, number>>,
  changes: Partial<FinishedRun> = {},
): FinishedRun => ({
  format: runFormat,
  method,
  tasks: Object.keys(scores),
  seed,
  scores: Object.entries(scores).map(([task, score]) => ({
    task,
    metric: 'accuracy',
    score,
    trainRows: 3000,
    devRows: 500,
  })),
  bestEpoch: 2,
  epochs: 5,
  steps: 400,
  seconds: 10,
  storage: { shared: 0, each: 0 },
  backboneBits: 1_000_000,
  settings: { maxRows: 3000 },
  version: 'v1',
  machine: 'a machine',
  ...changes,
})
