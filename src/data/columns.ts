// Which columns of a data file are used, and how their values are read.

import type { ProblemType } from '../petl/task.js'
import { quotedList } from '../problem.js'
import { flagOf } from '../settings.js'
import { throwInvalidData } from './invalid-data.js'

/** The names of the columns, and how their values are read. */
export interface Columns {
  readonly text: string
  /** Read from rows that have it. A blank one means that the row has no second text. */
  readonly textPair: string
  /** Whether the column of the second text must exist. */
  readonly pairs: boolean
  /** Whether each row must have two texts. */
  readonly bothTexts: boolean
  readonly label: string
  /** Columns with 0 or 1 for each label, instead of `label`. */
  readonly labelColumns?: readonly string[]
  /** Names of labels that the file stores as numbers from 0, or as an array with 0 or 1 for each label. */
  readonly labelNames?: readonly string[]
  /** What separates labels in a cell. By default it is found in the file. */
  readonly labelSeparator?: string
  /** Whether text and label are lists of words with a label each: in all rows, in none, or where the text is an array. */
  readonly tagged: boolean | 'arrays'
  /** Whether a label that is a string is a list of labels. The empty string is an empty list. */
  readonly listed: boolean
}

export const defaultColumns: Columns = {
  text: 'text',
  textPair: 'text_pair',
  pairs: false,
  bothTexts: false,
  label: 'label',
  tagged: 'arrays',
  listed: false,
}

/** How columns are read for a problem type. If the type is not known yet, the rows decide. */
export const columnsFor = (problem: ProblemType | undefined, columns: Columns): Columns => {
  if (problem === undefined) return columns
  const bothTexts = problem === 'feature_extraction'
  return {
    ...columns,
    pairs: columns.pairs || bothTexts,
    bothTexts,
    tagged: problem === 'token_classification',
    listed: problem === 'multi_label_classification',
  }
}

export type ColumnRole = 'text' | 'textPair' | 'label'

/** Whether a file has the column, or columns, of the labels. */
export const hasLabel = ({ label, labelColumns }: Columns, names: readonly string[]): boolean =>
  labelColumns !== undefined || names.some((name) => simplified(name) === simplified(label))

/**
 * Finds the columns in a file. Upper and lower case, and spaces around a name, make no difference unless two columns differ
 * only in these.
 * @param names the columns of the file; columns that are not used may be empty or repeated
 * @param indicators columns that have only zeros and ones, for advice
 * @returns the columns by their names in the file
 * @throws Problem `invalid_data` for a column that does not exist or occurs twice
 */
export function findColumns(
  columns: Columns,
  names: readonly string[],
  path: string,
  indicators: readonly string[] = [],
): Columns {
  const find = (wanted: string, role: ColumnRole | 'labelColumns', isRequired: boolean): string => {
    const exact = names.filter((name) => name === wanted)
    const similar = exact.length > 0 ? exact : names.filter((name) => simplified(name) === simplified(wanted))
    const [found = wanted] = similar
    if (similar.length > 1)
      throwInvalidData(
        path,
        new Set(similar).size === 1
          ? `column "${found}" occurs twice`
          : `the columns ${quotedList(similar, maxShown)} are similar to "${wanted}"; rename those that are not meant`,
      )
    if (similar.length === 0 && isRequired) throwMissing(wanted, role)
    return found
  }
  const throwMissing = (wanted: string, role: ColumnRole | 'labelColumns'): never =>
    throwInvalidData(
      path,
      `there is no column "${wanted}"; the file has ${quotedList(names, maxShown) || 'no columns'}. ` +
        (role === 'label' && indicators.length > 1
          ? `If a column with 0 or 1 belongs to each label, name these columns: --label-columns ${indicators.join(',')}`
          : `Name the column to use with ${flagOf(role === 'labelColumns' ? role : `${role}Column`)}`),
      // A program can offer these to choose from.
      { names: names.filter((name) => name.length <= maxNameLength).slice(0, maxNames) },
    )
  const { labelColumns } = columns
  const found = {
    text: find(columns.text, 'text', true),
    textPair: find(columns.textPair, 'textPair', columns.pairs),
    label: find(columns.label, 'label', labelColumns === undefined),
    ...(labelColumns && { labelColumns: labelColumns.map((name) => find(name, 'labelColumns', true)) }),
  }
  return { ...columns, ...found }
}

/** Names of columns in use, for readers that can leave out the others. */
export const usedColumns = ({ text, textPair, label, labelColumns = [label] }: Columns): readonly string[] => [
  text,
  textPair,
  ...labelColumns,
]

const simplified = (name: string) => name.trim().toLowerCase()

const maxShown = 20
const maxNames = 200
const maxNameLength = 200
