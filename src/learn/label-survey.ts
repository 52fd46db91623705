// A first reading of a file, that finds out what its labels are.

import type { ProblemType } from '../petl/task.js'
import type { Example } from './examples.js'
import { throwInvalidData } from './invalid-data.js'
import { type LabelSpace, labelNumber } from './label-space.js'
import { problemTraits } from './problem-traits.js'

/**
 * Goes through all labels once. A label for each word makes a token classification, arrays a multi-label
 * classification, numbers with a fraction a regression, all else a single-label classification, unless `problem` says
 * otherwise. Texts that are numbers, as CSV has them, count as numbers if all of them are.
 * @throws Problem `invalid_data` for labels of mixed kinds, none, or only one
 */
export async function surveyLabels(
  examples: AsyncIterable<Example>,
  path: string,
  problem?: ProblemType,
): Promise<LabelSpace> {
  const names = new Set<string>()
  let kind: LabelKind | undefined
  let fractions = false
  let firstWord: { readonly place: string; readonly label: string } | undefined
  let low = Number.POSITIVE_INFINITY
  let high = Number.NEGATIVE_INFINITY
  const moments = { count: 0, mean: 0, squares: 0 }
  const named = problem === undefined || problemTraits[problem].labels === 'names'
  for await (const example of examples) {
    const { label, place } = example
    const own = labelKind(example)
    kind ??= own
    if (kind !== own) throwInvalidData(place, `the label is of kind "${own}", those before it of kind "${kind}"`)
    const value = labelNumber(label)
    if (value !== undefined) {
      fractions ||= !Number.isInteger(value)
      low = Math.min(low, value)
      high = Math.max(high, value)
      const distance = value - moments.mean
      moments.mean += distance / ++moments.count
      moments.squares += distance * (value - moments.mean)
    } else if (typeof label === 'string') firstWord ??= { place, label }
    if (named && !(fractions && kind === 'number'))
      for (const name of Array.isArray(label) ? label : [label]) names.add(String(name))
  }
  if (kind === undefined) return throwInvalidData(path, 'there are no rows')
  const found = problem ?? problemFor(kind, fractions)
  if (firstWord && problemTraits[found].labels === 'numbers')
    throwInvalidData(
      firstWord.place,
      `the label is ${JSON.stringify(firstWord.label)}, others are numbers; a ${found} takes finite numbers alone, ` +
        'and if the labels are names, say so by the problem type',
    )
  if (!labelKindsFor(found).includes(kind))
    throwInvalidData(path, `a ${found} does not go with labels of kind "${kind}"`)
  if (problemTraits[found].labels === 'numbers') {
    if (low === high) throwInvalidData(path, `every row has the same number, ${low}; there is nothing to learn`)
    const { mean, squares, count } = moments
    const spread = { mean, deviation: Math.sqrt(squares / count) }
    return { problem: found, labels: [], range: [low, high], ...(found === 'regression' && { spread }) }
  }
  if (fractions && kind === 'number') throwInvalidData(path, `a ${found} does not go with numbers that have fractions`)
  if (names.size < 2)
    throwInvalidData(
      path,
      `every ${kind === 'words' ? 'word' : 'row'} has the same label, ${JSON.stringify([...names][0])}; expected at least 2`,
    )
  const numeric = (kind === 'number' || kind === 'text') && firstWord === undefined
  const labels = [...names].sort((a, b) => (numeric ? Number(a) - Number(b) : a < b ? -1 : 1))
  return { problem: found, labels }
}

type LabelKind = 'words' | 'array' | 'number' | 'text'

function labelKind({ label, words }: Example): LabelKind {
  if (words !== undefined) return 'words'
  return typeof label === 'number' ? 'number' : typeof label === 'string' ? 'text' : 'array'
}

function problemFor(kind: LabelKind, fractions: boolean): ProblemType {
  switch (kind) {
    case 'words':
      return 'token_classification'
    case 'array':
      return 'multi_label_classification'
    case 'number':
    case 'text':
      return fractions ? 'regression' : 'single_label_classification'
  }
}

function labelKindsFor(problem: ProblemType): readonly LabelKind[] {
  switch (problem) {
    case 'token_classification':
      return ['words']
    case 'multi_label_classification':
      return ['array']
    case 'single_label_classification':
    case 'regression':
    case 'feature_extraction':
      return ['number', 'text']
  }
}
