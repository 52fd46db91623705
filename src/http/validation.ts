// How requests are held against the schemas of their routes. Bodies are taken as they are; of what comes as text, whole
// numbers of a query alone become numbers, and only where they are written as such.

import type { FastifyInstance, FastifySchemaCompiler, FastifySchemaValidationError } from 'fastify'
import { type TSchema, Type } from 'typebox'
import { Compile } from 'typebox/compile'
import type { TLocalizedValidationError } from 'typebox/error'
import { Pointer } from 'typebox/value'
import { invalidTaskId, taskIdPattern } from '../tasks/registry.js'

export const validatorCompiler: FastifySchemaCompiler<TSchema> = ({ schema, httpPart }) => {
  // Ids are checked where they are looked up, each with a code of its own.
  if (httpPart === 'params') return (value) => ({ value })
  const check = Compile(schema)
  const numbers = httpPart === 'querystring' && Type.IsObject(schema) ? namesOf(schema.properties) : []
  return (given) => {
    const value = numbers.length > 0 ? withNumbers(given, numbers) : given
    return check.Check(value) ? { value } : { error: errorOf(schema, value, check.Errors(value)) }
  }
}

/** Refuses parameters of a query where a route has none: one that is misspelt would be without effect. */
export function rejectUnknownParameters(app: FastifyInstance): void {
  app.addHook('onRoute', (route) => {
    // Probes and scrapers may add their own.
    if (route.config?.audience === 'everybody' || route.config?.audience === 'scraper') return
    route.schema = { querystring: none, ...route.schema }
  })
}

const none = Type.Object({}, { additionalProperties: false })

/** The same code for what is no task id, wherever it stands. */
function errorOf(schema: TSchema, value: unknown, findings: readonly TLocalizedValidationError[]) {
  const id = findings.find(({ keyword, params }) => keyword === 'pattern' && params.pattern === taskIdPattern)
  if (id !== undefined) return invalidTaskId(String(Pointer.Get(value, id.instancePath)))
  return findings.map((finding) => withKnownFields(schema, finding)) as FastifySchemaValidationError[]
}

/** A field that is not known: says which are. */
function withKnownFields(schema: TSchema, finding: TLocalizedValidationError): TLocalizedValidationError {
  const parent = finding.schemaPath.replace(/^#/, '').replace(/\/additionalProperties$/, '')
  if (finding.keyword !== 'boolean' || !finding.schemaPath.endsWith('/additionalProperties')) return finding
  const object = parent === '' ? schema : Pointer.Get(schema, parent)
  const known = Object.keys((object as { properties?: object } | undefined)?.properties ?? {})
  const message = known.length > 0 ? `is not a known field; known are ${known.join(', ')}` : 'is not taken here'
  return { ...finding, message }
}

const namesOf = (properties: Readonly<Record<string, TSchema>>): string[] =>
  Object.entries(properties).flatMap(([name, schema]) => (Type.IsInteger(schema) ? [name] : []))

function withNumbers(query: Readonly<Record<string, unknown>>, names: readonly string[]): object {
  const numbers = names.flatMap((name) => {
    const text = query[name]
    return typeof text === 'string' && /^-?\d{1,15}$/.test(text) ? [[name, Number(text)] as const] : []
  })
  return { ...query, ...Object.fromEntries(numbers) }
}
