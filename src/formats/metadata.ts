// Reading the metadata of our files: strings that hold numbers, choices and JSON, each checked before use.

import type { Static, TSchema } from 'typebox'
import { Compile } from 'typebox/compile'
import { quoted } from '../problem.js'
import { hasAtMostValues, maxValues } from './json.js'

/** Throws the error of the file that is being read; it never returns. */
export type ThrowInvalid = (message: string) => never

/** Arrays and objects within each other; what is deeper nobody means, and writing it would run out of stack. */
const maxDepth = 32

export class Metadata {
  constructor(
    readonly fields: ReadonlyMap<string, string>,
    readonly throwInvalid: ThrowInvalid,
  ) {}

  text(key: string): string {
    return this.fields.get(key) ?? this.throwInvalid(`metadata "${key}" is missing`)
  }

  /** One of a few words. `fallback` is taken where the field is absent. */
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

  /** A JSON value of the given schema; `meaning` names it in the error. */
  json<T extends TSchema>(key: string, schema: T, meaning: string): Static<T> {
    const text = this.text(key)
    if (!hasAtMostValues(text))
      return this.throwInvalid(`metadata "${key}" has more than ${maxValues} values; expected ${meaning}`)
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch {
      return this.throwInvalid(`metadata "${key}" is not JSON; expected ${meaning}`)
    }
    if (!hasAtMostLevels(maxDepth, value))
      return this.throwInvalid(`metadata "${key}" is nested in more than ${maxDepth} levels; expected ${meaning}`)
    if (!hasOnlyFiniteNumbers(value))
      return this.throwInvalid(`metadata "${key}" holds a number that is too large; expected ${meaning}`)
    if (checker(schema)(value)) return value as Static<T>
    return this.throwInvalid(`metadata "${key}" is ${quoted(text)}; expected ${meaning}`)
  }
}

/** Whether a JSON value has at most so many levels. */
const hasAtMostLevels = (levels: number, value: unknown): boolean =>
  !isContainer(value) || (levels > 0 && Object.values(value).every((inner) => hasAtMostLevels(levels - 1, inner)))

/** Whether all numbers of a JSON value are finite: JSON.parse makes Infinity of 1e999, which cannot be written again. */
const hasOnlyFiniteNumbers = (value: unknown): boolean =>
  typeof value === 'number'
    ? Number.isFinite(value)
    : !isContainer(value) || Object.values(value).every(hasOnlyFiniteNumbers)

const isContainer = (value: unknown): value is object => typeof value === 'object' && value !== null

const checkers = new WeakMap<TSchema, (value: unknown) => boolean>()

/** A schema's check, compiled the first time it is used. */
function checker(schema: TSchema): (value: unknown) => boolean {
  const known = checkers.get(schema)
  if (known) return known
  const compiled = Compile(schema)
  const check = (value: unknown) => compiled.Check(value)
  checkers.set(schema, check)
  return check
}
