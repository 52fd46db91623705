// `propetl predict`: adds the predictions of a task to the rows of a data file.

import { realpath } from 'node:fs/promises'
import type { Text } from '../backbones/tokenizer.js'
import { defaultColumns, findColumns } from '../data/columns.js'
import { openRows } from '../data/file-rows.js'
import { throwInvalidData } from '../data/invalid-data.js'
import { looksLikeList, parseList } from '../data/label-cells.js'
import type { FileRow, RowSource } from '../data/row-reader.js'
import type { OpenedTask } from '../evaluation/opened-task.js'
import { predictInOrder } from '../evaluation/ordered-predictions.js'
import { Problem } from '../problem.js'
import { factLines } from './fact-lines.js'
import { Interrupted, untilInterrupted } from './interrupt.js'
import { type Append, checkWritable, writePiecesAtomically } from './output-file.js'
import { type PredictionField, predictionFields } from './prediction-fields.js'
import { duration, ProgressLine, rowRate } from './progress-line.js'
import { type TableWriter, tableFormatOf, tableWriter } from './table-writer.js'
import { checkIsTask, openTask } from './task-argument.js'
import type { TaskFlags, TextFlags } from './training-options.js'
import { shellWord } from './upload-command.js'

export interface PredictFlags extends TaskFlags, TextFlags {
  readonly out?: string
  readonly scores?: boolean
  readonly json?: boolean
}

/**
 * Writes the rows to a file, or else to standard output. Rows without text get empty predictions.
 * @param task a task file, or the URL of a task on a server
 * @returns the text to print
 * @throws Problem; Interrupted, and then no file is written
 */
export async function predict(task: string, path: string, flags: PredictFlags): Promise<string> {
  const start = performance.now()
  const { out } = flags
  const line = new ProgressLine(process.stderr)
  const onWarning = (what: string) => line.print(`warning: ${what}`)
  await checkFlags(task, path, flags)
  const format = out === undefined ? 'csv' : tableFormatOf('--out', out)
  if (out !== undefined) await checkWritable(out)
  const source = await openRows(path)
  const survey = await surveyRows(path, source, onWarning, (rows) => line.reading(path, rows))
  const opened = await openTask(task, flags, onWarning)
  try {
    const columns = textColumnsFor(opened, flags, source, survey, path)
    const fields = withFreeNames(predictionFields(opened.space, format, flags.scores ?? false), survey.columns)
    const names = fields.map(({ name }) => name)
    let predictingMs = 0
    const run: Run = {
      source,
      out,
      columns,
      fields,
      writer: tableWriter(format, [...survey.columns, ...names]),
      topK: flags.scores ? undefined : 1,
      rows: survey.rows,
      onWarning,
      // Rows on the terminal would be mixed with the progress line.
      onProgress: (done, ms) => {
        if (out !== undefined || !process.stdout.isTTY) line.predicting(done, survey.rows, ms)
        predictingMs = ms
      },
    }
    const blank = await untilInterrupted(
      (signal) => {
        const write = (append: Append) => writeRows(opened, run, append, signal)
        return out === undefined ? write(print) : writePiecesAtomically(out, write)
      },
      () => line.print('stopping; press Ctrl-C again to end at once'),
    )
    line.end()
    if (blank > maxSingleWarnings) onWarning(`${path}: ${rowCount(blank)} without text have empty predictions`)
    const ms = performance.now() - start
    if (out === undefined) return ''
    const { rows } = survey
    return flags.json
      ? JSON.stringify({ task, data: path, file: out, rows, without_text: blank, columns: names, seconds: ms / 1000 })
      : factLines([
          ['rows', `${rows.toLocaleString('en-US')}${blank > 0 ? `, ${blank} of them without text` : ''}`],
          ['columns', names.join(', ')],
          ['file', shellWord(out)],
          ['took', `${duration(ms)}, ${rowRate(rows, predictingMs)} without the start`],
        ])
  } finally {
    await opened.close()
  }
}

/** @throws Problem `invalid_setting` */
async function checkFlags(task: string, path: string, { out, json }: PredictFlags): Promise<void> {
  checkIsTask(task)
  if (json && out === undefined)
    throw new Problem('invalid_setting', '--json prints a summary where the rows would be printed; add --out FILE')
  const target = out === undefined ? undefined : await realpath(out).catch(() => undefined)
  if (target !== undefined && target === (await realpath(path).catch(() => undefined)))
    throw new Problem('invalid_setting', `--out ${shellWord(out ?? '')} is the data file itself; name another file`)
}

interface Survey {
  readonly rows: number
  readonly columns: ReadonlySet<string>
}

const maxColumns = 10_000

/** Reads the whole file, so that an invalid row is found before hours of work, and that the columns of all rows are known. */
async function surveyRows(
  path: string,
  source: RowSource,
  onWarning: (what: string) => void,
  onReading: (rows: number) => void,
): Promise<Survey> {
  const columns = new Set(source.columns)
  let rows = 0
  for await (const { place, values } of source.rows({ onWarning })) {
    for (const column of Object.keys(values)) columns.add(column)
    if (columns.size > maxColumns)
      throwInvalidData(
        place,
        `the rows have more than ${maxColumns} different columns; expected the same columns in all rows`,
      )
    if (++rows % 512 === 0) onReading(rows)
  }
  if (rows === 0) throwInvalidData(path, 'the file has no rows')
  return { rows, columns }
}

interface TextColumns {
  readonly text: string
  /** Undefined if the task takes one text. */
  readonly textPair: string | undefined
  /** Whether a cell can be a list of words. */
  readonly ofWords: boolean
}

/** @throws Problem `invalid_data`, `invalid_setting` */
function textColumnsFor(
  { space: { problem }, takesPairs }: OpenedTask,
  { textColumn, textPairColumn }: TextFlags,
  source: RowSource,
  { columns }: Survey,
  path: string,
): TextColumns {
  if (textPairColumn !== undefined && !takesPairs)
    throw new Problem('invalid_setting', `the task takes one text; remove --text-pair-column`)
  const { text, textPair } = findColumns(
    {
      ...defaultColumns,
      text: textColumn,
      textPair: textPairColumn ?? defaultColumns.textPair,
      pairs: textPairColumn !== undefined,
      // Labels are not needed.
      labelColumns: [],
    },
    source.columns ?? [...columns],
    path,
  )
  return { text, textPair: takesPairs ? textPair : undefined, ofWords: problem === 'token_classification' }
}

/** Renames fields that the rows have already: "label" becomes "predicted_label". */
function withFreeNames(fields: readonly PredictionField[], columns: ReadonlySet<string>): PredictionField[] {
  const taken = new Set(columns)
  return fields.map((field) => {
    let { name } = field
    while (taken.has(name)) name = `predicted_${name}`
    taken.add(name)
    return { ...field, name }
  })
}

interface Run {
  readonly source: RowSource
  readonly out: string | undefined
  readonly columns: TextColumns
  readonly fields: readonly PredictionField[]
  readonly writer: TableWriter
  readonly topK: number | undefined
  readonly rows: number
  readonly onWarning: (what: string) => void
  readonly onProgress: (done: number, ms: number) => void
}

interface Row extends FileRow {
  /** Undefined if the row has no text. */
  readonly text: Text | undefined
}

/** Characters that are written together. */
const pieceCharacters = 65_536
const maxSingleWarnings = 5

/** @returns the number of rows without text @throws Problem; Interrupted */
async function writeRows(task: OpenedTask, run: Run, append: Append, signal: AbortSignal): Promise<number> {
  const { source, out, columns, fields, writer, topK, rows, onWarning, onProgress } = run
  const start = performance.now()
  let [blank, done, written] = [0, 0, 0]
  async function* readRows(): AsyncGenerator<Row> {
    for await (const row of source.rows({ onWarning: () => {} })) {
      const text = textIn(row, columns)
      if (text === undefined && blank++ < maxSingleWarnings)
        onWarning(`${row.place}: the row has no text; its prediction is empty`)
      yield { ...row, text }
    }
  }
  const lines = predictInOrder(
    task,
    readRows(),
    {
      rawScores: false,
      topK,
      textsOf: ({ text }) => (text === undefined ? [] : [text]),
      sizeOf: ({ values }) => Object.values(values).reduce<number>((sum, value) => sum + sizeOf(value), 0),
      resultOf: ({ values }, [prediction]) =>
        writer.line({
          ...values,
          ...Object.fromEntries(fields.map(({ name, of }) => [name, prediction === undefined ? null : of(prediction)])),
        }),
      onPredicted: (more) => {
        done += more
        onProgress(done, performance.now() - start)
      },
    },
    signal,
  )
  try {
    let piece = writer.header
    for await (const line of lines) {
      signal.throwIfAborted()
      piece += line
      written++
      if (piece.length < pieceCharacters) continue
      await append(piece)
      piece = ''
    }
    await append(piece)
  } catch (error) {
    if (!signal.aborted) throw error
    const writtenSoFar = `interrupted after ${written.toLocaleString('en-US')} of ${rowCount(rows)}`
    throw new Interrupted(out === undefined ? writtenSoFar : `${writtenSoFar}; ${shellWord(out)} was not written`)
  }
  return blank
}

const rowCount = (rows: number) => `${rows.toLocaleString('en-US')} row${rows === 1 ? '' : 's'}`

const sizeOf = (value: unknown): number =>
  typeof value === 'string' ? value.length : typeof value === 'object' ? JSON.stringify(value).length : 8

/** Undefined if the row has no text. A blank second text is none. */
function textIn(
  { place, values }: FileRow,
  { text: column, textPair: pairColumn, ofWords }: TextColumns,
): Text | undefined {
  const textOf = (column: string | undefined) =>
    column === undefined ? '' : textOfCell(values[column], ofWords, column, place)
  const [text, textPair] = [textOf(column), textOf(pairColumn)]
  if (isBlank(text)) return undefined
  return isBlank(textPair) ? { text } : { text, textPair }
}

/** Models read at most so many characters: a text with more white space than that at its start is blank for them. */
const isBlank = (text: string): boolean => !/\S/.test(text.slice(0, 10_000))

/** A text; also a number, or the words of a text. Empty if there is none. */
function textOfCell(cell: unknown, ofWords: boolean, column: string, place: string): string {
  const value = ofWords && typeof cell === 'string' && looksLikeList(cell) ? (parseList(cell) ?? cell) : cell
  if (value == null) return ''
  if (typeof value === 'string') return value
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  if (Array.isArray(value) && value.every((word) => typeof word === 'string')) return value.join(' ')
  return throwInvalidData(place, `column "${column}" is ${JSON.stringify(value).slice(0, 80)}; expected a text`)
}

/** Writes to standard output, and waits until a slow reader has taken it. */
const print: Append = (text) =>
  new Promise((resolve) => {
    if (process.stdout.write(text)) resolve()
    else process.stdout.once('drain', resolve)
  })
