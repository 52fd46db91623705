// The findings of a validator in plain words: which part of a request is wrong, what was expected, and what was sent.

import type { TSchema } from 'typebox'
import type { TLocalizedValidationError } from 'typebox/error'
import { Pointer } from 'typebox/value'
import { quoted, shortened } from '../problem.js'
import { etagsPattern } from './etags.js'
import { timeoutPattern } from './schemas/predictions.js'

type Finding = TLocalizedValidationError

/** Findings that one error reports. */
const mostFindings = 8

/**
 * Describes findings in one sentence. For a union the validator reports every member. The intended member is the one that
 * fits furthest, so only the deepest findings count; and a finding about a value counts more than one about its type.
 * @param part of the request: body, query or headers
 */
export function describeFindings(part: string, schema: TSchema, value: unknown, findings: readonly Finding[]): string {
  const specific = findings.filter(({ keyword }) => keyword !== 'anyOf')
  const depth = ({ instancePath }: Finding) => instancePath.split('/').length
  const deepest = specific.reduce((most, finding) => Math.max(most, depth(finding)), 0)
  const byPath = new Map<string, Finding[]>()
  for (const finding of specific.filter((each) => depth(each) === deepest))
    byPath.set(finding.instancePath, [...(byPath.get(finding.instancePath) ?? []), finding])
  return [...byPath]
    .slice(0, mostFindings)
    .map(([path, group]) => {
      const texts = group.filter(({ keyword }) => keyword !== 'type').map((finding) => describeFinding(schema, finding))
      const described =
        texts.length > 0 ? [...new Set(texts)].join(' and ') : describeTypes(group, valueAt(value, path), path === '')
      return `${part}${shortened(path, 200)} ${described}`
    })
    .join('; ')
}

function describeFinding(schema: TSchema, finding: Finding): string {
  switch (finding.keyword) {
    case 'boolean':
      return describeUnknown(schema, finding)
    case 'required':
      return `must have ${finding.params.requiredProperties.map((name) => quoted(name)).join(' and ')}`
    case 'minItems':
      return finding.params.limit === 1 ? 'must not be empty' : finding.message
    case 'pattern':
      return expectedPatterns[String(finding.params.pattern)] ?? `must match ${finding.params.pattern}`
    case 'format':
      return finding.params.format === 'date-time'
        ? 'must be a time in ISO 8601, such as 2127-01-01T00:00:00Z'
        : finding.message
    default:
      return finding.message
  }
}

const expectedPatterns: Readonly<Record<string, string>> = {
  [etagsPattern]: 'must be * or ETags in double quotes, such as "v1", "v2"',
  [timeoutPattern]: 'must be a whole number of milliseconds, at least 1',
}

/** An unknown field, and the known ones. */
function describeUnknown(schema: TSchema, { schemaPath, message }: Finding): string {
  const parent = schemaPath.replace(/^#/, '').replace(/\/additionalProperties$/, '')
  if (!schemaPath.endsWith('/additionalProperties')) return message
  const object = parent === '' ? schema : Pointer.Get(schema, parent)
  const known = Object.keys((object as { properties?: object } | undefined)?.properties ?? {})
  return known.length > 0
    ? `is not a known field; the known fields are ${known.join(', ')}`
    : 'is not supported; this route has no query parameters'
}

function describeTypes(findings: readonly Finding[], value: unknown, isRoot: boolean): string {
  const types = new Set(findings.flatMap(({ params }) => ('type' in params ? [params.type].flat() : [])))
  const expected = [...types].map((type) => typeNames[type] ?? type)
  const last = expected.pop()
  return `must be ${expected.length > 0 ? `${expected.join(', ')} or ${last}` : last}, but is ${describeValue(value, isRoot)}`
}

const typeNames: Readonly<Record<string, string>> = {
  string: 'a string',
  number: 'a number',
  integer: 'an integer',
  boolean: 'true or false',
  object: 'an object',
  array: 'an array',
}

function describeValue(value: unknown, isRoot: boolean): string {
  // Fastify passes null for a request without a body.
  if (value === undefined || (value === null && isRoot)) return 'missing'
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'an array'
  if (typeof value === 'string') return `the string ${quoted(value, 40)}`
  return typeof value === 'object' ? 'an object' : String(value)
}

const valueAt = (value: unknown, path: string): unknown => (path === '' ? value : Pointer.Get(value as object, path))
