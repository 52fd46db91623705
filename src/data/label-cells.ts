// Reads the labels in a cell: lists in the notations of JSON and Python, lists divided by a separator, and values that mean
// that there is no label.

import { parseExactly } from './json-values.js'

/** What some programs write where a value is missing. */
const missingValues: ReadonlySet<string> = new Set(['nan', 'null', '<na>', '#n/a'])

/** Whether a cell means that there is no value. */
export const isMissing = (value: unknown): boolean =>
  value === undefined ||
  value === null ||
  (typeof value === 'number' && Number.isNaN(value)) ||
  (typeof value === 'string' && (value.trim() === '' || missingValues.has(value.trim().toLowerCase())))

/** Separators of lists, the most usual first. */
export const separators = [';', '|', ',', '#'] as const

/**
 * The separators that occur in cells, apart from cells that are lists in brackets. A number sign is a separator only if no
 * other occurs, because "C#" is a name.
 */
export function separatorsIn(cells: Iterable<string>): readonly string[] {
  const found = new Set<string>()
  for (const cell of cells)
    if (!isBracketed(cell)) for (const separator of separators) if (cell.includes(separator)) found.add(separator)
  return separators.filter((separator) => found.has(separator) && (separator !== '#' || found.size === 1))
}

const closingBrackets: Readonly<Partial<Record<string, string>>> = { '[': ']', '(': ')', '{': '}' }

export function isBracketed(cell: string): boolean {
  const text = cell.trim()
  const closing = closingBrackets[text[0] ?? '']
  return closing !== undefined && text.length >= 2 && text.endsWith(closing)
}

/** Whether a cell is meant as a list, though nothing else says that labels are lists: quotes or numbers in brackets. */
export const looksLikeList = (cell: string): boolean =>
  /^\s*[[({]\s*['"]/.test(cell) || (/^\s*\[\s*(-?\d[\d.,\s-]*)?\]\s*$/.test(cell) && isBracketed(cell))

/**
 * The items of a list in brackets: ["a", "b"] of JSON; ['a', 'b'], ('a', 'b') and {'a', 'b'} of Python, in which NumPy
 * leaves out the commas; [a, b]; and {"choices": ["a", "b"]} of annotation tools. Whole numbers stay exact.
 * @returns undefined if the cell is none of these
 */
export function parseList(cell: string): readonly unknown[] | undefined {
  const text = cell.trim()
  if (!isBracketed(text)) return undefined
  try {
    return listOf(parseExactly(text))
  } catch {
    return text.startsWith('{') && !/^\{\s*['"]/.test(text) ? undefined : parseItems(text.slice(1, -1))
  }
}

/** An array, or the array in an object with the key "choices". */
export function listOf(value: unknown): readonly unknown[] | undefined {
  if (Array.isArray(value)) return value
  if (typeof value !== 'object' || value === null) return undefined
  const { choices } = value as { readonly choices?: unknown }
  return Array.isArray(choices) ? choices : undefined
}

const quotedItem = /\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")\s*(,?)/y
const bareItem = /\s*([^\s,:'"[\](){}][^,'"[\](){}]*?)\s*(,|$)/y

/** The items between the brackets. A separator may be missing between items in quotes. */
function parseItems(text: string): readonly string[] | undefined {
  const items: string[] = []
  const end = text.trimEnd().length
  for (let at = 0; at < end; ) {
    quotedItem.lastIndex = at
    bareItem.lastIndex = at
    const quoted = quotedItem.exec(text)
    const found = quoted ?? bareItem.exec(text)
    if (found === null) return undefined
    items.push(quoted ? unescaped(quoted[1] ?? quoted[2] ?? '') : (found[1] ?? '').trim())
    at += found[0].length
  }
  // NumPy writes numbers without commas.
  const numbers = items.length === 1 && !text.includes(',') ? (items[0] ?? '').split(/\s+/) : []
  return numbers.length > 1 && numbers.every((item) => Number.isFinite(Number(item))) ? numbers : items
}

const escapes: Readonly<Partial<Record<string, string>>> = { n: '\n', t: '\t', r: '\r' }

const unescaped = (text: string): string =>
  text.replaceAll(
    /\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|(.))/gs,
    (_, two?: string, four?: string, character?: string) => {
      const code = two ?? four
      if (code !== undefined) return String.fromCharCode(Number.parseInt(code, 16))
      return escapes[character ?? ''] ?? character ?? ''
    },
  )
