// Reads files with a word and its tags on each line, and a blank line between sentences, as those of CoNLL-2003 and
// CoNLL-U. Each sentence is a row whose columns are arrays.

import { type DataFile, encodingNames, lineBatches, textOf } from '../data-file.js'
import { throwInvalidData } from '../invalid-data.js'
import type { FileRow, RowReader, RowSource, RowsOptions } from '../row-reader.js'

export const conllReader: RowReader = {
  extensions: ['.conll', '.conllu', '.iob', '.bio', '.txt', '.tsv', '.tab'],
  recognises: (file) => layoutOf(file) !== undefined,
  open: openConll,
}

interface Layout {
  readonly separator: 'tab' | 'space'
  readonly columns: number
  /** Names of the columns, if the first line has them. */
  readonly header?: readonly string[]
  /** Index of the column of words, and of the column of tags. */
  readonly word: number
  readonly tag: number
  readonly isConllU: boolean
}

/** Bounds the memory of a sentence in a file without blank lines. */
const maxWords = 100_000

const documentStart = '-DOCSTART-'

/** Lines that are judged. The last one may be cut. */
const judgedLines = 2_000

/** The names that first lines give to columns. */
const columnNames =
  /^(text|tokens?|words?|form|lemma|labels?|tags?|(u|x)?pos|(ner|pos|chunk|iob|bio)([ _-]?tags?)?|entity)$/i
const conllUNames = ['id', 'form', 'lemma', 'upos', 'xpos', 'feats', 'head', 'deprel', 'deps', 'misc']

/** Undefined unless sentences of at least two columns are separated by blank lines. */
function layoutOf({ text, path }: DataFile): Layout | undefined {
  if (text === undefined) return undefined
  const all = text.start.split(/\r\n|\n|\r/).slice(0, judgedLines)
  if (!text.whole || all.length === judgedLines) all.pop()
  const isBlank = (line: string) => line.trim() === ''
  const from = all.findIndex((line) => !isBlank(line))
  const to = all.findLastIndex((line) => !isBlank(line))
  const hasSentences = all.slice(from, to).some(isBlank)
  const lines = all.filter((line) => !isBlank(line) && !line.startsWith(documentStart) && !line.startsWith('#'))
  const isNamed = /\.(conllu?|iob|bio)$/i.test(path)
  if (lines.length === 0 || !(hasSentences || isNamed)) return undefined
  const separator = lines.every((line) => line.includes('\t')) ? 'tab' : 'space'
  const rows = lines.map((line) => fieldsOf(line, separator))
  const columns = mostFrequent(rows.map((fields) => fields.length))
  if (columns < 2 || rows.filter((fields) => fields.length === columns).length < 0.9 * rows.length) return undefined
  const isConllU = columns === conllUNames.length && rows.every(([id = '']) => /^\d+([-.]\d+)?$/.test(id))
  if (isConllU) return { separator, columns, header: conllUNames, word: 1, tag: 3, isConllU }
  // Sentences have no spaces in their words; a table of texts has.
  if (!isNamed && rows.some(([word = '']) => /\s/.test(word.trim()))) return undefined
  const header = rows[0]?.every((name) => columnNames.test(name.trim()))
    ? rows[0].map((name) => name.trim())
    : undefined
  return { separator, columns, ...(header && { header }), word: 0, tag: columns - 1, isConllU }
}

const fieldsOf = (line: string, separator: Layout['separator']): readonly string[] =>
  separator === 'tab' ? line.split('\t') : line.trim().split(/\s+/)

function mostFrequent(values: readonly number[]): number {
  const counts = new Map<number, number>()
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1)
  return [...counts].reduce((best, next) => (next[1] > best[1] ? next : best), [0, 0])[0]
}

async function openConll(file: DataFile): Promise<RowSource> {
  const layout = layoutOf(file)
  if (layout === undefined)
    return throwInvalidData(
      file.path,
      'expected a word and its tag on each line, separated by a tab or spaces, and a blank line between sentences',
    )
  const { columns, isConllU } = layout
  const format = `${isConllU ? 'CoNLL-U' : `CoNLL, ${columns} columns`}, ${encodingNames[textOf(file).encoding]}`
  return { format, rows: (options) => sentences(file, layout, options) }
}

/** The rows of sentences have the arrays `text` and `label`, and each column by its number from 1 and by its name. */
async function* sentences(file: DataFile, layout: Layout, { onWarning }: RowsOptions): AsyncGenerator<FileRow> {
  const { path } = file
  const { separator, columns, header, isConllU } = layout
  let line = 0
  let first = 0
  let withoutWord = 0
  let isHeader = header !== undefined && !isConllU
  let words: (readonly string[])[] = []
  const finish = (): FileRow | undefined => {
    const row = words.length > 0 ? rowOf(`${path}:${first}`, words, layout) : undefined
    words = []
    return row
  }
  for await (const batch of lineBatches(file))
    for (const text of batch) {
      line++
      if (text.trim() === '' || text.startsWith(documentStart)) {
        const row = finish()
        if (row) yield row
        continue
      }
      const fields = fieldsOf(text, separator)
      if (fields.length !== columns) {
        if (text.startsWith('#')) continue
        throwInvalidData(`${path}:${line}`, `the line has ${fields.length} columns; the others have ${columns}`)
      }
      if (isHeader) {
        isHeader = false
        continue
      }
      // CoNLL-U numbers words from 1; "1-2" and "1.1" are not words.
      if (isConllU && !/^\d+$/.test(fields[0] ?? '')) continue
      if (fields[layout.word]?.trim() === '') {
        if (withoutWord++ === 0) onWarning(`${path}:${line}: the line has a tag but no word; such lines are left out`)
        continue
      }
      if (words.length === 0) first = line
      words.push(fields)
      if (words.length > maxWords)
        throwInvalidData(
          `${path}:${first}`,
          `the sentence has more than ${maxWords} words; expected a blank line after each sentence`,
        )
    }
  const row = finish()
  if (row) yield row
}

function rowOf(place: string, words: readonly (readonly string[])[], { columns, header, word, tag }: Layout): FileRow {
  const column = (index: number) => words.map((fields) => fields[index]?.trim() ?? '')
  const all = Array.from({ length: columns }, (_, index) => column(index))
  const values: Record<string, readonly string[]> = { text: all[word] ?? [], label: all[tag] ?? [] }
  for (const [index, cells] of all.entries()) {
    values[String(index + 1)] = cells
    const name = header?.[index]
    if (name !== undefined) values[name] = cells
  }
  return { place, values }
}
