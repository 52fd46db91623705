// Figures as rows of a Markdown table.

import { type Figure, isMet } from './support/figures.js'

/** Three significant digits; whole numbers and large ones without a fraction. */
export function formatNumber(value: number): string {
  if (Number.isNaN(value)) return 'none'
  if (Number.isInteger(value) || Math.abs(value) >= 100) return Math.round(value).toLocaleString('en-US')
  return value.toPrecision(3)
}

export function targetOf({ target, unit }: Figure): string {
  if (target === undefined) return ''
  return ('atMost' in target ? `≤ ${target.atMost} ${unit}` : `≥ ${target.atLeast} ${unit}`).trim()
}

/** The value with its spread. */
export function measuredOf({ value, spread: [smallest, largest], repeats, unit }: Figure): string {
  const measured = `${formatNumber(value)} ${unit}`.trim()
  return repeats === 1
    ? measured
    : `${measured} (${formatNumber(smallest)} to ${formatNumber(largest)}, n = ${repeats})`
}

export function resultOf(figure: Figure): string {
  const met = isMet(figure)
  return met === undefined ? '' : met ? 'met' : '**missed**'
}

/** The unit at the end of the key of a note: `p99 ms`, `longest wait, s`. */
const noteUnit = /^(?:(.*?),? )?(ms|s|µs|MB|bytes|%|texts\/s|tokens\/s)$/

export const notesOf = ({ notes = {} }: Figure): string =>
  Object.entries(notes)
    .map(([key, note]) => {
      if (typeof note === 'string') return `${key}: ${note}`
      const [, subject, unit = ''] = noteUnit.exec(key) ?? [key, key]
      return `${subject === undefined ? '' : `${subject}: `}${formatNumber(note)} ${unit}`.trim()
    })
    .join('; ')

/** A row of a table. Pipes and line breaks in cells are escaped. */
export const cellsOf = (cells: readonly string[]): string =>
  `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll(/\s+/g, ' ')).join(' | ')} |`

export const tableHead = '| Figure | Target | Measured | Result | Notes |\n|---|---|---|---|---|'

export const tableRow = (figure: Figure): string =>
  cellsOf([figure.name, targetOf(figure), measuredOf(figure), resultOf(figure), notesOf(figure)])
