// Collects the labels of a data file, to find the problem type and the set of labels or range of numbers.

import type { ProblemType } from '../petl/task.js'
import { quoted } from '../problem.js'
import { detached } from './detached.js'
import type { Example } from './examples.js'
import { throwInvalidData } from './invalid-data.js'
import { hasNumbers, type LabelSpace, labelNumber, wholeNumberOf } from './label-space.js'
import {
  alikeWarnings,
  type LabelCount,
  listWarnings,
  missingWarnings,
  notationOf,
  numberWarnings,
  wholeNumberWarnings,
} from './suspect-labels.js'
import { WordSurvey } from './word-survey.js'

type LabelKind = 'words' | 'spans' | 'array' | 'number' | 'text'

/** With fractions, labels are numbers, and then only some of them are kept to recognise different spellings. */
const maxFractions = 10_000

/** A longer label is a text in the wrong column. */
const maxLabelLength = 1000

export class LabelSurvey {
  readonly #counts = new Map<string, number>()
  readonly #moments = { count: 0, mean: 0, squares: 0 }
  #kind: LabelKind | undefined
  #fractions = false
  #firstName: { readonly place: string; readonly label: string } | undefined
  #low = Number.POSITIVE_INFINITY
  #high = Number.NEGATIVE_INFINITY
  #isMixed = false
  #hasEmptyLists = false
  /** Whether every list has exactly one label. */
  #isOneEach = true
  readonly #words = new WordSurvey()

  /** @param problem by default the labels decide */
  constructor(
    readonly path: string,
    readonly problem?: ProblemType,
  ) {}

  /** @throws Problem `invalid_data` if labels are of mixed kinds */
  add(example: Example): void {
    const { label, place } = example
    const kind = labelKind(example)
    if (kind === 'array' && Array.isArray(label)) {
      this.#isOneEach &&= label.length === 1
      // An empty list is a text without entities, or one to which no label applies.
      if (label.length === 0) {
        this.#hasEmptyLists = true
        return
      }
    }
    this.#words.add(example)
    this.#kind ??= kind
    const value = labelNumber(label)
    if (this.#kind !== kind) this.#addOtherKind(kind, place, value !== undefined && this.#firstName === undefined)
    if (value !== undefined) this.#addNumber(value)
    else if (typeof label === 'string') this.#firstName ??= { place, label }
    if (this.#fractions && this.#firstName === undefined && this.#counts.size > maxFractions) return
    const names = example.spans?.map((span) => span.label) ?? (Array.isArray(label) ? label : [label])
    for (const name of names) this.#count(String(name), place)
  }

  /**
   * Whether some labels are lists and others are not, so that all labels are lists, and the file must be read again as a
   * multi_label_classification.
   */
  get isMixed(): boolean {
    return this.#isMixed
  }

  /** Labels by their counts, the most frequent first. Empty if labels are numbers with fractions. */
  get counts(): readonly LabelCount[] {
    return this.#hasFractions ? [] : this.#merged().sort((a, b) => b.count - a.count)
  }

  /** The problem type that fits the labels, if there are any. */
  get found(): ProblemType | undefined {
    const kind = this.#knownKind
    if (this.problem !== undefined || kind === undefined) return this.problem
    return kind === 'array' && this.#isOneEach ? 'single_label_classification' : problemFor(kind, this.#hasFractions)
  }

  /** @throws Problem `invalid_data` if a task cannot be trained on the labels */
  get space(): LabelSpace {
    const { path } = this
    const kind = this.#knownKind
    const found = this.found
    if (kind === undefined || found === undefined)
      return throwInvalidData(path, 'the file has no examples; expected at least two, with different labels')
    this.#checkNumbers(found)
    const isClass = found === 'single_label_classification' && kind === 'array' && this.#isOneEach
    if (!isClass && !labelKindsFor(found).includes(kind))
      throwInvalidData(path, `a ${found} cannot have labels of kind "${kind}"`)
    if (hasNumbers(found)) return this.#numberSpace(found)
    if (this.#fractions && kind === 'number') throwInvalidData(path, `a ${found} cannot have labels with fractions`)
    if (kind === 'spans') return { problem: found, ...this.#words.result }
    const labels = this.#merged().map(({ label }) => label)
    if (labels.length < 2)
      throwInvalidData(
        path,
        `every ${kind === 'words' ? 'word' : 'row'} has the same label, ${quoted(labels[0] ?? '')}; expected at least two different labels`,
      )
    if (kind === 'words') return { problem: found, ...this.#words.result }
    const numeric = (kind === 'number' || kind === 'text') && this.#firstName === undefined
    labels.sort((a, b) => (numeric ? Number(a) - Number(b) : 0) || (a < b ? -1 : 1))
    return { problem: found, labels }
  }

  /** What looks wrong in the labels but does not prevent training. */
  get warnings(): readonly string[] {
    const found = this.found
    if (found === undefined) return []
    const isByDefault = this.problem === undefined
    const spellings = [...this.#counts.keys()]
    if (hasNumbers(found)) return isByDefault ? numberWarnings(spellings, this.#total) : []
    const { counts } = this
    const isClass = found === 'single_label_classification'
    return [
      ...alikeWarnings(counts),
      ...(isClass && isByDefault && this.#firstName === undefined ? wholeNumberWarnings(counts) : []),
      ...(isClass && isByDefault ? listWarnings(spellings) : []),
      ...(isClass && isByDefault && this.#knownKind === 'array'
        ? [
            'every list has one label, used as the class; if several can apply, set --problem-type multi_label_classification',
          ]
        : []),
      ...missingWarnings(counts),
      ...(isClass && spellings.length > 100 && spellings.length > 0.9 * this.#total
        ? ['nearly every row has a label of its own; check that this is the column of the labels']
        : []),
    ]
  }

  get #knownKind(): LabelKind | undefined {
    return this.#kind ?? (this.#hasEmptyLists ? 'array' : undefined)
  }

  get #total(): number {
    let sum = 0
    for (const count of this.#counts.values()) sum += count
    return sum
  }

  get #hasFractions(): boolean {
    return this.#fractions && this.problem !== 'single_label_classification'
  }

  #addOtherKind(kind: LabelKind, place: string, isNumber: boolean): void {
    const kinds = new Set([this.#kind, kind])
    if (isNumber && kinds.has('number') && kinds.has('text')) {
      // Numbers of JSON that a double cannot represent are texts.
      this.#kind = 'text'
      return
    }
    this.#isMixed = this.problem === undefined && kinds.has('array') && (kinds.has('text') || kinds.has('number'))
    if (!this.#isMixed)
      throwInvalidData(place, `the label is of kind "${kind}"; the labels before it are of kind "${this.#kind}"`)
  }

  #addNumber(value: number): void {
    this.#fractions ||= !Number.isInteger(value)
    this.#low = Math.min(this.#low, value)
    this.#high = Math.max(this.#high, value)
    const distance = value - this.#moments.mean
    this.#moments.mean += distance / ++this.#moments.count
    this.#moments.squares += distance * (value - this.#moments.mean)
  }

  #count(name: string, place: string): void {
    const known = this.#counts.get(name)
    if (known !== undefined) {
      this.#counts.set(name, known + 1)
      return
    }
    if (name.length > maxLabelLength)
      throwInvalidData(
        place,
        `the label has ${name.length} characters; the limit is ${maxLabelLength}. ` +
          'Check that this is the column of the labels (--label-column)',
      )
    this.#counts.set(detached(name), 1)
  }

  /** Counts in which "1.0" and "1" are one label if all labels are whole numbers. */
  #merged(): LabelCount[] {
    const isWhole =
      this.#firstName === undefined && !this.#fractions && (this.#kind === 'number' || this.#kind === 'text')
    const merged = new Map<string, number>()
    for (const [name, count] of this.#counts) {
      const label = isWhole ? (wholeNumberOf(name) ?? name) : name
      merged.set(label, (merged.get(label) ?? 0) + count)
    }
    return Array.from(merged, ([label, count]) => ({ label, count }))
  }

  /** Explains labels that are numbers in a notation that is not read. */
  #checkNumbers(found: ProblemType): void {
    if (this.problem === 'single_label_classification' || this.#kind !== 'text') return
    const other = this.#firstName
    if (other === undefined) return
    const notations = new Set<string>()
    for (const name of this.#counts.keys()) notations.add(notationOf(name) ?? 'a name')
    notations.delete('a plain number')
    const [notation = ''] = notations
    if (notations.size === 1 && notation !== 'a name')
      throwInvalidData(
        other.place,
        `the label ${quoted(other.label)} is ${notation}; write numbers as 4.37. ` +
          'If the labels are names, set --problem-type single_label_classification; ' +
          'if they are lists, set --problem-type multi_label_classification',
      )
    if (hasNumbers(found))
      throwInvalidData(
        other.place,
        `the label is ${quoted(other.label)}, but other labels are numbers; a ${found} needs finite numbers. ` +
          'If the labels are names, set the problem type (--problem-type) to single_label_classification.',
      )
  }

  #numberSpace(problem: ProblemType): LabelSpace {
    const [low, high] = [this.#low, this.#high]
    if (low === high)
      throwInvalidData(
        this.path,
        `every row has the same number, ${low}; expected at least two different numbers` +
          (this.#counts.size > 1 ? '. If the labels are names, set --problem-type single_label_classification' : ''),
      )
    const { mean, squares, count } = this.#moments
    const spread = { mean, deviation: Math.sqrt(squares / count) }
    return { problem, labels: [], range: [low, high], ...(problem === 'regression' && { spread }) }
  }
}

function labelKind({ label, words, spans }: Example): LabelKind {
  if (words !== undefined) return 'words'
  if (spans !== undefined) return 'spans'
  return typeof label === 'number' ? 'number' : typeof label === 'string' ? 'text' : 'array'
}

/**
 * A label per word means token classification, arrays mean multi-label classification, numbers with fractions mean
 * regression, and anything else means single-label classification.
 */
function problemFor(kind: LabelKind, fractions: boolean): ProblemType {
  switch (kind) {
    case 'words':
    case 'spans':
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
      return ['words', 'spans']
    case 'multi_label_classification':
      return ['array']
    case 'single_label_classification':
    case 'regression':
    case 'feature_extraction':
      return ['number', 'text']
  }
}
