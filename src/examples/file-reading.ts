// Reads a file of examples that a client has sent: what is in it, and its examples in batches. Messages name the file as the
// client knows it, and query parameters instead of the flags of commands.

import { type Columns, columnsFor, defaultColumns } from '../data/columns.js'
import { type Example, readExamples } from '../data/examples.js'
import { openRows } from '../data/file-rows.js'
import { type FileSurvey, surveyFile } from '../data/file-survey.js'
import { throwInvalidData } from '../data/invalid-data.js'
import { surveyWarnings } from '../data/survey-report.js'
import { TextIndex } from '../data/text-index.js'
import type { ProblemType } from '../petl/task.js'
import { shortened } from '../problem.js'
import { exampleId, exampleOf, type NewExample } from './example.js'
import { maxExampleBytes } from './example-changes.js'

/** How the columns of a file are read. By default they are found. */
export interface FileColumns {
  readonly textColumn?: string | undefined
  readonly pairColumn?: string | undefined
  readonly labelColumn?: string | undefined
  readonly labelColumns?: readonly string[] | undefined
  readonly labelNames?: readonly string[] | undefined
  readonly labelSeparator?: string | undefined
  readonly problemType?: ProblemType | undefined
}

export interface FileToRead {
  readonly path: string
  /** The file in messages: the client's name of it, or "the body". */
  readonly name: string
  readonly columns: FileColumns
  /** Who sent it, as in the audit log. */
  readonly by: string
  /** Most bytes in memory for the rows that a format stores together. */
  readonly maxGroupBytes: number
}

/** What is in a file. */
export interface FileReport {
  readonly format: string
  readonly columns: {
    readonly text: string
    readonly textPair?: string
    readonly label?: string
    readonly labels?: readonly string[]
  }
  /** Names of the columns of the file. */
  readonly names: readonly string[]
  readonly rows: number
  readonly examples: number
  /** Bytes of their texts and labels as they are stored, roughly. */
  readonly bytes: number
  readonly problemType?: ProblemType
  /** The most frequent labels. */
  readonly labels: readonly { readonly label: string; readonly count: number }[]
  readonly labelCount: number
  readonly warnings: readonly string[]
  readonly skipped: readonly { readonly reason: string; readonly count: number; readonly firstPlace: string }[]
  /** The first examples, with texts cut. */
  readonly sample: readonly Pick<NewExample, 'text' | 'textPair' | 'tokens' | 'label' | 'spans'>[]
}

/** Most examples of one file. */
export const maxFileExamples = 1_000_000

/** Most bytes that the examples of one file take. A compressed file can have much more text than bytes. */
const maxStoredBytes = 1 << 30

const sampleRows = 20
const sampleLength = 1_000
const maxLabels = 200
const maxNames = 1_000
/** Examples of a batch, and characters of their texts. */
const batchRows = 500
const batchLength = 1 << 20

export class FileReader {
  #columns: Columns | undefined
  #problem: ProblemType | undefined

  constructor(readonly file: FileToRead) {}

  /** @throws Problem `invalid_data` that names the row and the column. Pass its message through `shown` */
  async survey(): Promise<FileReport> {
    const { path, columns: asked, by, maxGroupBytes } = this.file
    this.#columns = await columnsOf(this.file)
    let sample: NewExample[] = []
    let [examples, bytes] = [0, 0]
    const begin = () => {
      // A file in which some labels are lists is read a second time.
      sample = []
      examples = 0
      bytes = 0
      return (example: Example) => {
        if (++examples > maxFileExamples)
          throwInvalidData(
            example.place,
            `a file may have at most ${maxFileExamples} examples; send the others in another request`,
          )
        const stored = exampleOf(example, { source: 'upload', by })
        const size = sizeOf(stored)
        if (size > maxExampleBytes)
          throwInvalidData(example.place, `the example would take ${size} bytes; the limit is ${maxExampleBytes}`)
        bytes += size
        if (bytes > maxStoredBytes)
          throwInvalidData(
            example.place,
            `the examples up to here take more than ${maxStoredBytes} bytes; send the others in another request`,
          )
        if (sample.length < sampleRows) sample.push(shortenedExample(stored))
      }
    }
    const survey = await surveyFile(path, {
      columns: this.#columns,
      ...(asked.problemType && { problem: asked.problemType }),
      maxGroupBytes,
      begin,
    })
    this.#problem = survey.labels.problem
    return this.#report(survey, sample, bytes)
  }

  /**
   * The examples of the file, which must have been surveyed.
   * @param distinct whether examples whose texts occurred before are left out and counted
   */
  async *batches(distinct: boolean): AsyncGenerator<ExampleBatch> {
    const { path, by, maxGroupBytes } = this.file
    if (this.#columns === undefined) throw new Error('a file is read before its survey')
    const seen = distinct ? new TextIndex() : undefined
    let batch: NewExample[] = []
    let repeated = { same: 0, other: 0 }
    let length = 0
    for await (const example of readExamples(path, columnsFor(this.#problem, this.#columns), { maxGroupBytes })) {
      const stored = exampleOf(example, { source: 'upload', by })
      if (seen) {
        const label = hashOfLabel(stored)
        const before = seen.add(exampleId(stored), label, 0)
        if (before) {
          if (before.label === label) repeated.same++
          else repeated.other++
          continue
        }
      }
      batch.push(stored)
      length += example.text.length + (example.textPair?.length ?? 0)
      if (batch.length < batchRows && length < batchLength) continue
      yield { examples: batch, repeated }
      batch = []
      repeated = { same: 0, other: 0 }
      length = 0
    }
    yield { examples: batch, repeated }
  }

  #report(survey: FileSurvey, sample: FileReport['sample'], bytes: number): FileReport {
    const { columns, format, labels, names, path, rows, examples, skipped } = survey
    const { found, counts } = labels
    const shown = (text: string) => this.shown(text)
    const withoutFile = (text: string) => shown(text.startsWith(`${path}: `) ? text.slice(path.length + 2) : text)
    return {
      format,
      columns: {
        text: columns.text,
        ...(names.includes(columns.textPair) && { textPair: columns.textPair }),
        ...(columns.labelColumns ? { labels: columns.labelColumns } : { label: columns.label }),
      },
      names: names.slice(0, maxNames).map((name) => shortened(name, sampleLength)),
      rows,
      examples,
      bytes,
      ...(found && { problemType: found }),
      labels: counts.slice(0, maxLabels),
      labelCount: counts.length,
      warnings: surveyWarnings({ ...survey, skipped: [] }).map(withoutFile),
      skipped: skipped.map(({ reason, rows: count, places }) => ({
        reason: shown(reason),
        count,
        firstPlace: shown(places[0] ?? path),
      })),
      sample,
    }
  }

  /** A message for the client. */
  shown(text: string): string {
    const { path, name } = this.file
    return parameterNames.reduce(
      (shown, [flag, parameter]) => shown.replaceAll(flag, parameter),
      text.replaceAll(path, name),
    )
  }
}

export interface ExampleBatch {
  readonly examples: readonly NewExample[]
  /** Examples that were left out because their text occurred before: with the same label, and with another one. */
  readonly repeated: { readonly same: number; readonly other: number }
}

/** Longer flags come first, because others are their beginnings. */
const parameterNames = [
  ['--text-pair-column', 'pair_column'],
  ['--text-column', 'text_column'],
  ['--label-columns ', 'label_columns='],
  ['--label-columns', 'label_columns'],
  ['--label-column', 'label_column'],
  ['--label-names ', 'label_names='],
  ['--label-separator ', 'label_separator='],
  ['--problem-type ', 'problem_type='],
  ['--problem-type', 'problem_type'],
] as const

/** Columns that the caller does not name have the names of the default or, for words and their tags, those of the API. */
async function columnsOf({ path, columns: asked, maxGroupBytes }: FileToRead): Promise<Columns> {
  const { textColumn, pairColumn, labelColumn, labelColumns, labelNames, labelSeparator } = asked
  const needsNames = textColumn === undefined || (labelColumn === undefined && labelColumns === undefined)
  const names = new Set(needsNames ? await namesOf(path, maxGroupBytes) : [])
  const found = (wanted: string, others: readonly string[]) =>
    names.has(wanted) ? wanted : (others.find((name) => names.has(name)) ?? wanted)
  return {
    ...defaultColumns,
    text: textColumn ?? found(defaultColumns.text, ['tokens']),
    label: labelColumn ?? found(defaultColumns.label, ['tags', 'ner_tags']),
    ...(pairColumn !== undefined && { textPair: pairColumn, pairs: true }),
    ...(labelColumns && { labelColumns }),
    ...(labelNames && { labelNames }),
    ...(labelSeparator !== undefined && { labelSeparator }),
  }
}

/** The columns of the file or, if its format does not name them, of its first row. */
async function namesOf(path: string, maxGroupBytes: number): Promise<readonly string[]> {
  const source = await openRows(path)
  if (source.columns) return source.columns
  const rows = source.rows({ onWarning: () => {}, maxGroupBytes })
  try {
    const first = await rows.next()
    return first.done ? [] : Object.keys(first.value.values)
  } finally {
    await rows.return(undefined)
  }
}

/** Bytes that an example takes, apart from what every record has. */
const sizeOf = ({ text, textPair, tokens, label, spans }: NewExample): number =>
  Buffer.byteLength(JSON.stringify([text, textPair, tokens, label, spans]))

const hashOfLabel = ({ label, spans }: NewExample): number => {
  let hash = 0
  for (const unit of JSON.stringify([label, spans])) hash = (Math.imul(hash, 31) + (unit.codePointAt(0) ?? 0)) >>> 0
  return hash
}

function shortenedExample(example: NewExample): NewExample {
  const { text, textPair, tokens } = example
  const [words, label] =
    tokens && typeof example.label === 'object'
      ? [tokens.slice(0, sampleLength / 10), example.label.slice(0, sampleLength / 10)]
      : [tokens, example.label]
  return {
    ...example,
    ...(text !== undefined && { text: shortened(text, sampleLength) }),
    ...(textPair !== undefined && { textPair: shortened(textPair, sampleLength) }),
    ...(words && { tokens: words.map((word) => shortened(word, sampleLength)) }),
    label,
  }
}
