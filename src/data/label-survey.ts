// Reads the labels of a data file once, to find the problem type and the set of labels or range of numbers.

import type { ProblemType } from '../petl/task.js'
import type { Example } from './examples.js'
import { throwInvalidData } from './invalid-data.js'
import { hasNumbers, type LabelSpace, labelNumber } from './label-space.js'

/**
 * Reads all labels. Unless `problem` is given, a label per word means token classification, arrays mean multi-label
 * classification, numbers with fractions mean regression, and anything else means single-label classification. Strings
 * count as numbers if all of them are numbers, as in CSV.
 * @throws Problem `invalid_data` if labels are of mixed kinds, or if there are fewer than two different labels
 */
export async function surveyLabels(
  examples: AsyncIterable<Example>,
  path: string,
  problem?: ProblemType,
): Promise<LabelSpace> {
  const names = new Set<string>()
  let kind: LabelKind | undefined
  let fractions = false
  let firstName: { readonly place: string; readonly label: string } | undefined
  let low = Number.POSITIVE_INFINITY
  let high = Number.NEGATIVE_INFINITY
  const moments = { count: 0, mean: 0, squares: 0 }
  const named = problem === undefined || !hasNumbers(problem)
  for await (const example of examples) {
    const { label, place } = example
    const exampleKind = labelKind(example)
    kind ??= exampleKind
    if (kind !== exampleKind)
      throwInvalidData(place, `the label is of kind "${exampleKind}"; the labels before it are of kind "${kind}"`)
    const value = labelNumber(label)
    if (value !== undefined) {
      fractions ||= !Number.isInteger(value)
      low = Math.min(low, value)
      high = Math.max(high, value)
      const distance = value - moments.mean
      moments.mean += distance / ++moments.count
      moments.squares += distance * (value - moments.mean)
    } else if (typeof label === 'string') firstName ??= { place, label }
    if (named && !(fractions && kind === 'number'))
      for (const name of Array.isArray(label) ? label : [label]) names.add(String(name))
  }
  if (kind === undefined)
    return throwInvalidData(path, 'the file has no examples; expected at least two, with different labels')
  const found = problem ?? problemFor(kind, fractions)
  if (firstName && hasNumbers(found))
    throwInvalidData(
      firstName.place,
      `the label is ${JSON.stringify(firstName.label)}, but other labels are numbers; a ${found} needs finite numbers. ` +
        'If the labels are names, set the problem type (--problem-type) to single_label_classification.',
    )
  if (!labelKindsFor(found).includes(kind)) throwInvalidData(path, `a ${found} cannot have labels of kind "${kind}"`)
  if (hasNumbers(found)) {
    if (low === high)
      throwInvalidData(path, `every row has the same number, ${low}; expected at least two different numbers`)
    const { mean, squares, count } = moments
    const spread = { mean, deviation: Math.sqrt(squares / count) }
    return { problem: found, labels: [], range: [low, high], ...(found === 'regression' && { spread }) }
  }
  if (fractions && kind === 'number') throwInvalidData(path, `a ${found} cannot have labels with fractions`)
  if (names.size < 2)
    throwInvalidData(
      path,
      `every ${kind === 'words' ? 'word' : 'row'} has the same label, ${JSON.stringify([...names][0])}; expected at least two different labels`,
    )
  const numeric = (kind === 'number' || kind === 'text') && firstName === undefined
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
