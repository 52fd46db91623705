// config.json of a Hugging Face directory: its fields, each checked before use. A field that is null counts as absent.

import { join } from 'node:path'
import { Problem } from '../problem.js'
import { configName, readModelJson } from './model-files.js'

const maxSize = 1_000_000

export class ConfigFile {
  private constructor(
    readonly path: string,
    readonly fields: ReadonlyMap<string, unknown>,
  ) {}

  /** @throws Problem `invalid_backbone` if the directory has no such file, or no JSON object is in it */
  static async read(directory: string): Promise<ConfigFile> {
    return new ConfigFile(join(directory, configName), await readModelJson(directory, configName))
  }

  /** A whole number from 1 to 1,000,000. `fallback` is taken where the field is absent, here and below. */
  size(field: string, fallback?: number): number {
    return this.#wholeNumber(field, 1, fallback)
  }

  /** A place in a table, from 0 to 1,000,000. */
  index(field: string, fallback?: number): number {
    return this.#wholeNumber(field, 0, fallback)
  }

  /** Those of the fields that are a place in a table. */
  indexes(...names: readonly string[]): ReadonlyMap<string, number> {
    return new Map(
      names.filter((name) => typeof this.fields.get(name) === 'number').map((name) => [name, this.index(name)]),
    )
  }

  /** A number above 0. */
  positive(field: string, fallback?: number): number {
    const value = this.#value(field, fallback)
    return typeof value === 'number' && value > 0 ? value : this.#unexpected(field, value, 'a number above 0')
  }

  /** A key of a table. */
  choice<T extends string>(field: string, table: Readonly<Record<T, unknown>>, fallback?: T): T {
    const value = this.#value(field, fallback)
    const choices = Object.keys(table) as T[]
    return choices.find((choice) => choice === value) ?? this.#unexpected(field, value, choices.join(' | '))
  }

  /** Refuses a field that says anything but the one thing that is built; absent, it says that. */
  only(field: string, built: string | number | boolean): void {
    const value = this.#value(field, built)
    if (value !== built) this.#unexpected(field, value, JSON.stringify(built))
  }

  /** @throws Problem `invalid_backbone`, with the file's name before the message */
  throwInvalidConfig(message: string): never {
    throw new Problem('invalid_backbone', `${this.path}: ${message}`)
  }

  #wholeNumber(field: string, least: number, fallback?: number): number {
    const value = this.#value(field, fallback)
    if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= maxSize) return value
    return this.#unexpected(field, value, `a whole number from ${least} to ${maxSize}`)
  }

  #value(field: string, fallback: unknown): unknown {
    return this.fields.get(field) ?? fallback
  }

  #unexpected(field: string, value: unknown, expected: string): never {
    return this.throwInvalidConfig(
      `${field} is ${value === undefined ? 'missing' : JSON.stringify(value)}; expected ${expected}`,
    )
  }
}
