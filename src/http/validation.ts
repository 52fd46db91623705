// Validates requests against the schemas of their routes. Bodies are taken as they are. Of a query, which is text, only
// integers are converted, and only if they are written as plain digits.

import type { FastifyInstance, FastifySchemaCompiler } from 'fastify'
import { type TSchema, Type } from 'typebox'
import { Compile } from 'typebox/compile'
import type { TLocalizedValidationError } from 'typebox/error'
import { Pointer } from 'typebox/value'
import { Problem } from '../problem.js'
import { invalidTaskId, taskIdPattern } from '../tasks/registry.js'
import { describeFindings } from './findings.js'

export const validatorCompiler: FastifySchemaCompiler<TSchema> = ({ schema, httpPart = 'request' }) => {
  // Routes check ids where they look them up: each kind of id has its own error code.
  if (httpPart === 'params') return (value) => ({ value })
  const check = Compile(schema)
  const part = httpPart === 'querystring' ? 'query' : httpPart
  const integers = part === 'query' && Type.IsObject(schema) ? integersOf(schema.properties) : []
  return (given) => {
    const value = integers.length > 0 ? withIntegers(given, integers) : given
    return check.Check(value) ? { value } : { error: problemOf(part, schema, value, check.Errors(value)) }
  }
}

/** Rejects query parameters of routes that have none: a misspelt one would have no effect. */
export function rejectUnknownParameters(app: FastifyInstance): void {
  app.addHook('onRoute', (route) => {
    // Probes and scrapers may add their own.
    if (route.config?.audience === 'public' || route.config?.audience === 'scraper') return
    route.schema = { querystring: none, ...route.schema }
  })
}

const none = Type.Object({}, { additionalProperties: false })

function problemOf(
  part: string,
  schema: TSchema,
  value: unknown,
  findings: readonly TLocalizedValidationError[],
): Problem {
  // An invalid task id has the same code wherever it is.
  const id = findings.find(({ keyword, params }) => keyword === 'pattern' && params.pattern === taskIdPattern)
  if (id !== undefined) return invalidTaskId(String(Pointer.Get(value, id.instancePath)))
  return new Problem('invalid_request', describeFindings(part, schema, value, findings))
}

const integersOf = (properties: Readonly<Record<string, TSchema>>): string[] =>
  Object.entries(properties).flatMap(([name, schema]) => (Type.IsInteger(schema) ? [name] : []))

function withIntegers(query: Readonly<Record<string, unknown>>, names: readonly string[]): object {
  const integers = names.flatMap((name) => {
    const text = query[name]
    return typeof text === 'string' && /^-?\d{1,15}$/.test(text) ? [[name, Number(text)] as const] : []
  })
  return { ...query, ...Object.fromEntries(integers) }
}
