// Figures as a Markdown table.

import { type Figure, isMet } from './support/figures.js'

/** Short, but with enough digits to compare. */
export function formatNumber(value: number): string {
  if (Number.isNaN(value)) return 'none'
  return Number.isInteger(value) || Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3)
}

export function targetOf({ target, unit }: Figure): string {
  if (target === undefined) return ''
  return `${'atMost' in target ? `≤ ${target.atMost}` : `≥ ${target.atLeast}`} ${unit}`.trim()
}

export function measuredOf({ value, spread: [smallest, largest], repeats, unit }: Figure): string {
  const measured = `${formatNumber(value)} ${unit}`.trim()
  return repeats === 1 ? measured : `${measured} (${formatNumber(smallest)} to ${formatNumber(largest)}, ${repeats} ×)`
}

export const notesOf = ({ notes = {} }: Figure): string =>
  Object.entries(notes)
    .map(([key, note]) => `${key}: ${typeof note === 'number' ? formatNumber(note) : note}`)
    .join('; ')

export const tableHead = '| Figure | Target | Measured (spread, repeats) | Result | Notes |\n|---|---|---|---|---|'

export function tableRow(figure: Figure): string {
  const met = isMet(figure)
  const result = met === undefined ? '' : met ? 'met' : '**missed**'
  const cells = [figure.name, targetOf(figure), measuredOf(figure), result, notesOf(figure)]
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll(/\s+/g, ' ')).join(' | ')} |`
}
