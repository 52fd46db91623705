// Reads a data file once and reports what is in it: format, columns, skipped rows, labels and repeated texts.

import type { ProblemType } from '../petl/task.js'
import { type Columns, columnsFor } from './columns.js'
import { type Example, type ExampleWatch, type OnReading, type OpenedExamples, readExamples } from './examples.js'
import { LabelSurvey } from './label-survey.js'
import { SkipCounter, type SkippedRows } from './skipped-rows.js'
import { hashOf, TextIndex } from './text-index.js'

/** Two examples with the same text. */
export interface Repetition {
  readonly first: number
  readonly second: number
}

export interface Repetitions {
  readonly count: number
  /** The first of them. */
  readonly shown: readonly Repetition[]
}

export interface FileSurvey extends OpenedExamples {
  readonly path: string
  /** All rows of the file, also those that are skipped. */
  readonly rows: number
  readonly examples: number
  readonly skipped: readonly SkippedRows[]
  readonly labels: LabelSurvey
  /** Examples whose text occurred before. */
  readonly repeated: Repetitions
  /** Those of them that have another label than the first. */
  readonly conflicting: Repetitions
  readonly texts: TextIndex
  /** What the numbers of places are: "line", "row" or "element". */
  readonly placeName: string
  /** What looks wrong in the file but can be read. */
  readonly warnings: readonly string[]
}

const maxShown = 5
const maxWarnings = 20

export interface SurveyOptions {
  readonly columns: Columns
  /** By default the labels decide. */
  readonly problem?: ProblemType
  readonly onReading?: OnReading
  /** See RowsOptions. */
  readonly maxGroupBytes?: number
  /** Called when reading begins. Its result receives each example, with the number of its line or row. */
  readonly begin?: () => OnExample
}

export type OnExample = (example: Example, place: number) => void

/** @throws Problem `unreadable_file`, `invalid_data` */
export async function surveyFile(path: string, options: SurveyOptions): Promise<FileSurvey> {
  const { columns, problem, onReading, begin, maxGroupBytes } = options
  const onExample = begin?.()
  const skipped = new SkipCounter()
  const labels = new LabelSurvey(path, problem)
  const texts = new TextIndex()
  const repeated = new RepetitionList()
  const conflicting = new RepetitionList()
  const warnings: string[] = []
  let opened: OpenedExamples | undefined
  let examples = 0
  let placeName = 'line'
  const watch: ExampleWatch = {
    onOpen: (found) => {
      opened = found
    },
    onWarning: (what) => {
      if (warnings.length < maxWarnings) warnings.push(what)
    },
    onSkip: (place, reason) => skipped.add(place, reason),
    ...(onReading && { onReading }),
    maxGroupBytes,
  }
  for await (const example of readExamples(path, columnsFor(problem, columns), watch)) {
    labels.add(example)
    // Lists after names: all labels are lists, and names are lists of one.
    if (labels.isMixed) return surveyFile(path, { ...options, problem: 'multi_label_classification' })
    if (examples++ === 0) placeName = placeNameOf(example.place)
    const place = placeNumber(example.place)
    const [label] = hashOf(labelKey(example))
    const before = texts.add(textKey(example), label, place)
    if (before) {
      repeated.add({ first: before.place, second: place })
      if (before.label !== label) conflicting.add({ first: before.place, second: place })
    }
    onExample?.(example, place)
  }
  if (opened === undefined) throw new Error('a file was read without being opened')
  return {
    ...opened,
    path,
    rows: examples + skipped.rows,
    examples,
    skipped: skipped.byReason,
    labels,
    repeated,
    conflicting,
    texts,
    placeName,
    warnings,
  }
}

class RepetitionList implements Repetitions {
  readonly shown: Repetition[] = []
  #count = 0

  get count(): number {
    return this.#count
  }

  add(repetition: Repetition): void {
    this.#count++
    if (this.shown.length < maxShown) this.shown.push(repetition)
  }
}

/** Counts the examples of a file whose texts are in another file. @param onExample see surveyFile */
export function sharedTexts(texts: TextIndex): { onExample: OnExample; shared: Repetitions } {
  const shared = new RepetitionList()
  const onExample: OnExample = (example, place) => {
    const other = texts.find(textKey(example))
    if (other) shared.add({ first: other.place, second: place })
  }
  return { onExample, shared }
}

const textKey = ({ text, textPair }: Example): string =>
  textPair === undefined ? text.trim() : `${text.trim()}\u0000${textPair.trim()}`

/** Equal for equal labels. The order of the labels of words counts, and that of labels that apply to a text does not. */
const labelKey = ({ label, words, spans }: Example): string =>
  spans ? JSON.stringify(spans) : String(typeof label === 'object' && !words ? label.toSorted() : label)

/** The number of a line, row or element at the end of a place. */
export const placeNumber = (place: string): number => Number(place.slice(place.search(/\d+$/)))

const placeNameOf = (place: string): string => /(row|element) \d+$/.exec(place)?.[1] ?? 'line'
