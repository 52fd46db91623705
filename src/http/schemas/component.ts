// Named schemas of the OpenAPI document, so that generated clients have named types. Routes validate and serialise with
// whole schemas; only the document has references in their place.

import type { TSchema } from 'typebox'

const nameKeyword = 'x-component'
const documentedKeyword = 'x-documented'

/** Gives a schema a name under `#/components/schemas` of the document. */
export const component = <T extends TSchema>(name: string, schema: T): T =>
  Object.assign(schema, { [nameKeyword]: name })

/** Shows another schema in the document, where that is more precise than what the server needs. */
export const documentedAs = <T extends TSchema>(documented: TSchema, schema: T): T =>
  Object.assign(schema, { [documentedKeyword]: documented })

interface Document {
  readonly components?: object | undefined
}

/**
 * Moves each named schema of a document to its components, and refers to it.
 * @throws Error if one name stands for two schemas
 */
export function withComponents<T extends Document>(document: T): T {
  const schemas = new Map<string, unknown>()
  const referring = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(referring)
    if (typeof value !== 'object' || value === null) return value
    const { [nameKeyword]: name, [documentedKeyword]: documented, ...own } = value as Readonly<Record<string, unknown>>
    if (documented !== undefined) return referring(documented)
    const copy = Object.fromEntries(Object.entries(own).map(([key, inner]) => [key, referring(inner)]))
    if (typeof name !== 'string') return copy
    if (schemas.has(name) && JSON.stringify(schemas.get(name)) !== JSON.stringify(copy))
      throw new Error(`two schemas have the name ${name}`)
    schemas.set(name, copy)
    return { $ref: `#/components/schemas/${name}` }
  }
  const referred = referring(document) as T
  const sorted = [...schemas].toSorted(([a], [b]) => (a < b ? -1 : 1))
  return { ...referred, components: { ...referred.components, schemas: Object.fromEntries(sorted) } }
}
