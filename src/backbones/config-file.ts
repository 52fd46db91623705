// config.json of a Hugging Face directory: its fields, each checked before use. A field that is null counts as absent.

import { readFile } from 'node:fs/promises'
import { Problem } from '../problem.js'

const maxSize = 1_000_000

export class ConfigFile {
  private constructor(
    readonly path: string,
    readonly fields: ReadonlyMap<string, unknown>,
  ) {}

  /** @throws Problem `invalid_backbone` if there is no JSON object in the file */
  static async read(path: string): Promise<ConfigFile> {
    const text = await readFile(path, 'utf8').catch((error: Error) => refuse(path, `cannot be read: ${error.message}`))
    let config: unknown
    try {
      config = JSON.parse(text)
    } catch (error) {
      return refuse(path, `not JSON: ${(error as Error).message}`)
    }
    if (typeof config !== 'object' || config === null || Array.isArray(config))
      return refuse(path, `expected an object of fields; it is ${text.slice(0, 80)}`)
    return new ConfigFile(path, new Map(Object.entries(config)))
  }

  /** A whole number from 1 to 1,000,000. `fallback` is taken where the field is absent, here and below. */
  size(field: string, fallback?: number): number {
    return this.#wholeNumber(field, 1, fallback)
  }

  /** A place in a table, from 0 to 1,000,000. */
  index(field: string, fallback?: number): number {
    return this.#wholeNumber(field, 0, fallback)
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
  refuse(message: string): never {
    return refuse(this.path, message)
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
    return this.refuse(`${field} is ${value === undefined ? 'missing' : JSON.stringify(value)}; expected ${expected}`)
  }
}

function refuse(path: string, message: string): never {
  throw new Problem('invalid_backbone', `${path}: ${message}`)
}
