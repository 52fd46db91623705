// Writes data files for tests and reads them.

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import { type Columns, columnsFor, defaultColumns } from '../../src/data/columns.js'
import { type Example, readExamples } from '../../src/data/examples.js'
import { type FileSurvey, surveyFile } from '../../src/data/file-survey.js'
import type { ProblemType } from '../../src/petl/task.js'

const folder = await mkdtemp(join(tmpdir(), 'propetl-data-'))
after(() => rm(folder, { recursive: true }))
let files = 0

/** @param name its end is the extension */
export async function fileOf(name: string, content: string | Uint8Array): Promise<string> {
  const path = join(folder, `${files++}-${name}`)
  await writeFile(path, content)
  return path
}

export interface Reading {
  readonly columns?: Partial<Columns>
  readonly problem?: ProblemType
}

export async function examplesOf(path: string, { columns, problem }: Reading = {}): Promise<Example[]> {
  const examples: Example[] = []
  const all = columnsFor(problem, { ...defaultColumns, ...columns })
  for await (const example of readExamples(path, all)) examples.push(example)
  return examples
}

export const surveyOf = (path: string, { columns, problem }: Reading = {}): Promise<FileSurvey> =>
  surveyFile(path, { columns: { ...defaultColumns, ...columns }, ...(problem && { problem }) })

/** Labels with their counts. */
export const countsOf = ({ labels }: FileSurvey): Record<string, number> =>
  Object.fromEntries(labels.counts.map(({ label, count }) => [label, count]))

const adjectives = ['superb', 'terrible', 'charming', 'bad']

/** Texts and labels that alternate between "pos" and "neg". */
export const reviews = (count: number): { text: string; label: string }[] =>
  Array.from({ length: count }, (_, at) => ({
    text: `the meal was ${adjectives[at % 4]} no ${at}`,
    label: at % 2 === 0 ? 'pos' : 'neg',
  }))

/** A CSV of reviews. @param label changes the label of a row */
export const reviewsCsv = (count: number, label: (label: string, at: number) => string = (label) => label): string =>
  `text,label\n${reviews(count)
    .map((row, at) => `${row.text},${label(row.label, at)}\n`)
    .join('')}`
