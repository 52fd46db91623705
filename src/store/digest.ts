// A digest of a set of records that does not depend on their order: the sum of the records' hashes. One changed record
// updates it in constant time. PostgreSQL computes the same hashes (database.ts).

import { createHash } from 'node:crypto'

/** Hashes are the first six bytes of a SHA-256, so that their sums are exact in a double. */
const modulus = 2 ** 48

/** The number of records and the sum of their hashes. */
export interface Contents {
  readonly records: number
  readonly digest: number
}

export const recordHash = (table: string, key: string, value: Uint8Array): number =>
  createHash('sha256').update(`${table}\0${key}\0`).update(value).digest().readUIntBE(0, 6)

export class Tally {
  #records: number
  #digest: number

  constructor({ records, digest }: Contents = { records: 0, digest: 0 }) {
    this.#records = records
    this.#digest = digest
  }

  add(table: string, key: string, value: Uint8Array): void {
    this.#records++
    this.#digest = (this.#digest + recordHash(table, key, value)) % modulus
  }

  remove(table: string, key: string, value: Uint8Array): void {
    this.#records--
    this.#digest = (this.#digest - recordHash(table, key, value) + modulus) % modulus
  }

  get contents(): Contents {
    return { records: this.#records, digest: this.#digest }
  }
}

/** The contents of disjoint sets together. A missing set counts as empty. */
export const sumOf = (sets: readonly (Contents | undefined)[]): Contents => ({
  records: sets.reduce((sum, set) => sum + (set?.records ?? 0), 0),
  digest: sets.reduce((sum, set) => (sum + (set?.digest ?? 0)) % modulus, 0),
})
