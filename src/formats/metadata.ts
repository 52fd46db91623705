// Reads the metadata of prototype and task files: strings that contain numbers, choices, digests or JSON. Every field is
// checked.

import type { Static, TSchema } from 'typebox'
import { Compile } from 'typebox/compile'
import { quoted } from '../problem.js'
import { hasAtMostValues, maxValues } from './json.js'

/** Throws the error of the file that is being read. */
export type ThrowInvalid = (message: string) => never

/** Most levels of nested JSON. Deeper nesting is of no use, and writing it could overflow the stack. */
const maxDepth = 32

export class Metadata {
  constructor(
    readonly fields: ReadonlyMap<string, string>,
    readonly throwInvalid: ThrowInvalid,
  ) {}

  text(key: string): string {
    return this.fields.get(key) ?? this.throwInvalid(`metadata "${key}" is missing`)
  }

  /** One of a few words. `fallback` is the value of an absent field. */
  choice<T extends string>(key: string, choices: readonly T[], fallback?: T): T {
    const value = this.fields.get(key) ?? fallback ?? this.text(key)
    const found = choices.find((choice) => choice === value)
    return found ?? this.throwInvalid(`metadata "${key}" is ${quoted(value)}; expected ${choices.join(' | ')}`)
  }

  /** A whole number from 1 to `limit`. */
  count(key: string, limit: number): number {
    const value = Number(this.text(key))
    if (Number.isInteger(value) && value >= 1 && value <= limit) return value
    return this.throwInvalid(
      `metadata "${key}" is ${quoted(this.text(key))}; expected a whole number from 1 to ${limit}`,
    )
  }

  /** A digest: 64 hexadecimal digits in lower case. */
  digest(key: string): string {
    const value = this.text(key)
    return /^[0-9a-f]{64}$/.test(value)
      ? value
      : this.throwInvalid(`metadata "${key}" is ${quoted(value)}; expected a SHA-256 digest of 64 hexadecimal digits`)
  }

  /**
   * A JSON value of a schema.
   * @param expected the schema in words, for errors
   */
  json<T extends TSchema>(key: string, schema: T, expected: string): Static<T> {
    const text = this.text(key)
    if (!hasAtMostValues(text))
      return this.throwInvalid(`metadata "${key}" has more than ${maxValues} values; expected ${expected}`)
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch {
      return this.throwInvalid(`metadata "${key}" is not JSON; expected ${expected}`)
    }
    if (!hasAtMostLevels(maxDepth, value))
      return this.throwInvalid(`metadata "${key}" has more than ${maxDepth} levels of nesting; expected ${expected}`)
    if (!hasOnlyFiniteNumbers(value))
      return this.throwInvalid(`metadata "${key}" contains a number that is too large; expected ${expected}`)
    if (checker(schema)(value)) return value as Static<T>
    return this.throwInvalid(`metadata "${key}" is ${quoted(text)}; expected ${expected}`)
  }
}

/** Whether a JSON value has at most `levels` levels of nesting. */
const hasAtMostLevels = (levels: number, value: unknown): boolean =>
  !isContainer(value) || (levels > 0 && Object.values(value).every((inner) => hasAtMostLevels(levels - 1, inner)))

/** Whether all numbers of a JSON value are finite. JSON.parse reads 1e999 as Infinity, which JSON cannot represent. */
const hasOnlyFiniteNumbers = (value: unknown): boolean =>
  typeof value === 'number'
    ? Number.isFinite(value)
    : !isContainer(value) || Object.values(value).every(hasOnlyFiniteNumbers)

const isContainer = (value: unknown): value is object => typeof value === 'object' && value !== null

const checkers = new WeakMap<TSchema, (value: unknown) => boolean>()

/** The compiled check of a schema. It is compiled at its first use. */
function checker(schema: TSchema): (value: unknown) => boolean {
  const known = checkers.get(schema)
  if (known) return known
  const compiled = Compile(schema)
  const check = (value: unknown) => compiled.Check(value)
  checkers.set(schema, check)
  return check
}
