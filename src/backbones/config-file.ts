// config.json of a Hugging Face directory: reads fields and checks each one. A field that is null counts as absent.

import { join } from 'node:path'
import { Problem } from '../problem.js'
import { configName, readModelJson } from './model-files.js'

const maxSize = 1_000_000

/** The methods throw Problem `invalid_backbone` for a field that is missing (and has no fallback) or invalid. */
export class ConfigFile {
  constructor(
    /** Named in errors. */
    readonly path: string,
    readonly fields: ReadonlyMap<string, unknown>,
    /** Comes before the names of fields in errors, such as `rope_parameters.`. */
    readonly section = '',
  ) {}

  /** @throws Problem `invalid_backbone` if the file is missing or does not contain a JSON object */
  static async read(directory: string): Promise<ConfigFile> {
    return new ConfigFile(join(directory, configName), await readModelJson(directory, configName))
  }

  /**
   * A whole number from 1 to 1,000,000.
   * @param fallback the value of an absent field, here and in the other methods
   */
  size(field: string, fallback?: number): number {
    return this.wholeNumber(field, 1, fallback)
  }

  /** An index from 0 to 1,000,000. */
  index(field: string, fallback?: number): number {
    return this.wholeNumber(field, 0, fallback)
  }

  /** A whole number from `least` to 1,000,000. */
  wholeNumber(field: string, least: number, fallback?: number): number {
    const value = this.#value(field, fallback)
    if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= maxSize) return value
    return this.#throwUnexpected(field, value, `a whole number from ${least} to ${maxSize}`)
  }

  /** The indexes among some fields; others may be absent or hold something else. */
  indexes(...names: readonly string[]): ReadonlyMap<string, number> {
    return new Map(
      names.filter((name) => typeof this.fields.get(name) === 'number').map((name) => [name, this.index(name)]),
    )
  }

  /** A number above 0. */
  positive(field: string, fallback?: number): number {
    const value = this.#value(field, fallback)
    return typeof value === 'number' && value > 0 ? value : this.#throwUnexpected(field, value, 'a number above 0')
  }

  /** An even number from 2. */
  even(field: string, fallback?: number): number {
    const value = this.size(field, fallback)
    return value % 2 === 0 ? value : this.#throwUnexpected(field, value, 'an even number')
  }

  flag(field: string, fallback?: boolean): boolean {
    const value = this.#value(field, fallback)
    return typeof value === 'boolean' ? value : this.#throwUnexpected(field, value, 'true or false')
  }

  /** One of the keys of a table. */
  choice<T extends string>(field: string, table: Readonly<Record<T, unknown>>, fallback?: T): T {
    const value = this.#value(field, fallback)
    const choices = Object.keys(table) as T[]
    return choices.find((choice) => choice === value) ?? this.#throwUnexpected(field, value, choices.join(' | '))
  }

  /** A list of `count` keys of a table. Undefined if the field is absent. */
  choices<T extends string>(
    field: string,
    table: Readonly<Record<T, unknown>>,
    count: number,
  ): readonly T[] | undefined {
    const values = this.#value(field, undefined)
    if (values === undefined) return undefined
    if (!Array.isArray(values) || values.length !== count)
      return this.#throwUnexpected(field, values, `a list of ${count}`)
    const list = new ConfigFile(this.path, new Map(values.map((value, at) => [`${field}[${at}]`, value])), this.section)
    return values.map((_, at) => list.choice(`${field}[${at}]`, table))
  }

  /** The fields of an object. None if the field is absent. */
  below(field: string): ConfigFile {
    const value = this.#value(field, {})
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      return this.#throwUnexpected(field, value, 'an object')
    return new ConfigFile(this.path, new Map(Object.entries(value)), `${this.section}${field}.`)
  }

  has(field: string): boolean {
    return this.#value(field, undefined) !== undefined
  }

  /** Some of the known words: a list of them, or a text that has `|` between them. */
  several<T extends string>(field: string, known: readonly T[], fallback?: NoInfer<T>): ReadonlySet<T> {
    const value = this.#value(field, fallback)
    const given: readonly unknown[] = typeof value === 'string' ? value.split('|') : Array.isArray(value) ? value : []
    const found = given.map((name) =>
      known.find((word) => typeof name === 'string' && word === name.trim().toLowerCase()),
    )
    const chosen = new Set(found.filter((word) => word !== undefined))
    if (chosen.size > 0 && !found.includes(undefined)) return chosen
    return this.#throwUnexpected(field, value, `one or several of ${known.join(' | ')}`)
  }

  /** Requires that a field is absent or has the only supported value. Without such a value it must be absent. */
  only(field: string, supported?: string | number | boolean): void {
    const value = this.#value(field, supported)
    if (value !== supported)
      this.#throwUnexpected(field, value, supported === undefined ? 'null' : JSON.stringify(supported))
  }

  /** @throws Problem `invalid_backbone` with the path of the file and the message */
  throwInvalidConfig(message: string): never {
    throw new Problem('invalid_backbone', `${this.path}: ${message}`)
  }

  #value(field: string, fallback: unknown): unknown {
    return this.fields.get(field) ?? fallback
  }

  #throwUnexpected(field: string, value: unknown, expected: string): never {
    const found = value === undefined ? 'is missing' : `is ${JSON.stringify(value)}`
    return this.throwInvalidConfig(`${this.section}${field} ${found}; expected ${expected}`)
  }
}
