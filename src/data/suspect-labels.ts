// Recognises labels that may not be meant as they are read: numbers in other notations, lists that are taken for names,
// names that differ only by case. They are warnings and do not change how labels are read.

import { quoted } from '../problem.js'
import { separators } from './label-cells.js'

/** How many rows, or words, have a label. */
export interface LabelCount {
  readonly label: string
  readonly count: number
}

/** How a label is written, if it is a number or may be meant as one. */
export function notationOf(name: string): string | undefined {
  if (Number.isFinite(Number(name)) && name.trim() !== '') return 'a plain number'
  if (/^[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+$/.test(name)) return 'a number with a decimal comma'
  if (/^[+-]?\d+([.,]\d+)?\s*%$/.test(name)) return 'a number with a percent sign'
  if (/^[$€£¥]\s*\d+([.,]\d+)*$|^\d+([.,]\d+)*\s*[$€£¥]$/.test(name)) return 'an amount with a currency sign'
  return undefined
}

const maxShown = 5

const shownGroups = (groups: readonly string[]): string =>
  groups.length > maxShown
    ? `${groups.slice(0, maxShown).join('; ')}; and ${groups.length - maxShown} more`
    : groups.join('; ')

/** Labels that people hardly tell apart. */
export function alikeWarnings(counts: readonly LabelCount[]): string[] {
  const groups = new Map<string, LabelCount[]>()
  for (const one of counts) {
    const key = one.label
      .normalize('NFKC')
      .replaceAll(/[\s\p{Cf}]+/gu, ' ')
      .trim()
      .toLowerCase()
    const group = groups.get(key)
    if (group) group.push(one)
    else groups.set(key, [one])
  }
  const alike = [...groups.values()]
    .filter((group) => group.length > 1)
    .map((group) => group.map(({ label, count }) => `${quoted(label)} (${count})`).join(' and '))
  return alike.length === 0 ? [] : [`labels differ only by case or white space: ${shownGroups(alike)}`]
}

/** Whole numbers as classes: more than two of them may be ratings or amounts. */
export function wholeNumberWarnings(counts: readonly LabelCount[]): string[] {
  if (counts.length < 3) return []
  return [
    `the ${counts.length} labels are whole numbers and are used as names of classes; ` +
      'for ratings and amounts, set --problem-type regression; if they are names, --problem-type single_label_classification',
  ]
}

/** Names such as section numbers, and a few grades, are not quantities. */
export function numberWarnings(labels: readonly string[], examples: number): string[] {
  const spellings = new Map<number, string>()
  for (const label of labels) {
    const other = spellings.get(Number(label))
    if (other !== undefined)
      return [
        `the labels ${quoted(other)} and ${quoted(label)} are the same number; ` +
          'if the labels are names, set --problem-type single_label_classification',
      ]
    spellings.set(Number(label), label)
  }
  return labels.length > 10 || examples < 5 * labels.length
    ? []
    : [
        `the labels are only ${labels.length} different numbers, used as a regression; ` +
          'if they are names, set --problem-type single_label_classification',
      ]
}

/** Lists of labels that are taken for names, because nothing says that they are lists. Their parts occur in several. */
export function listWarnings(labels: readonly string[]): string[] {
  for (const separator of separators) {
    const lists = labels.filter((label) => label.includes(separator))
    if (lists.length === 0) continue
    const uses = new Map<string, number>()
    for (const label of labels)
      for (const part of new Set(partsOf(label, separator))) uses.set(part, (uses.get(part) ?? 0) + 1)
    const ofLabels = lists.filter((label) => partsOf(label, separator).every((part) => (uses.get(part) ?? 0) > 1))
    if (ofLabels.length > 0 && 2 * ofLabels.length >= lists.length)
      return [
        `labels such as ${quoted(ofLabels[0] ?? '')} look like lists of labels; ` +
          'if they are, set --problem-type multi_label_classification',
      ]
  }
  return []
}

const partsOf = (label: string, separator: string): readonly string[] =>
  label.split(separator).map((part) => part.trim())

/** Words that may mean that there is no label. */
export function missingWarnings(counts: readonly LabelCount[]): string[] {
  return counts
    .filter(({ label }) => /^(none|n\/?a|\?|-+|unknown|missing)$/i.test(label) && counts.length > 2)
    .map(({ label, count }) => `${count} rows have the label ${quoted(label)}; if it means no label, remove these rows`)
}
