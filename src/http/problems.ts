// Errors as answers: application/problem+json (RFC 9457), each with a stable code.

import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { Problem, type ProblemCode, quoted, shortened } from '../problem.js'

interface Meaning {
  readonly status: number
  readonly title: string
  /** Seconds after which trying again makes sense. */
  readonly retryAfter?: number
}

export const problems = {
  not_safetensors: { status: 400, title: 'The file is not a sound safetensors file' },
  invalid_request: { status: 400, title: 'The request does not have the expected form' },
  invalid_json: { status: 400, title: 'The body is not JSON' },
  invalid_task_id: { status: 400, title: 'That is not a task id' },
  invalid_tenant_id: { status: 400, title: "That is not a tenant's id" },
  unauthenticated: { status: 401, title: 'The request has no key that this server knows' },
  forbidden: { status: 403, title: 'Whoever asks may not do this' },
  quota_exceeded: { status: 403, title: 'What may be stored is used up' },
  not_found: { status: 404, title: 'There is nothing at this address' },
  unknown_task: { status: 404, title: 'There is no such task' },
  unknown_tenant: { status: 404, title: 'There is no such tenant' },
  unknown_key: { status: 404, title: 'There is no such key' },
  method_not_allowed: { status: 405, title: 'The address has no such method' },
  request_timeout: { status: 408, title: 'The request took too long to arrive' },
  tenant_leaving: { status: 409, title: 'The tenant is being removed' },
  last_operator_key: { status: 409, title: 'The key cannot be revoked' },
  prototype_mismatch: { status: 409, title: 'The task belongs to another prototype' },
  task_read_only: { status: 409, title: 'The task cannot be changed' },
  precondition_failed: { status: 412, title: 'The task is not at the expected version' },
  body_too_large: { status: 413, title: 'The body is too large' },
  unsupported_media_type: { status: 415, title: 'The content type or encoding is not taken here' },
  expectation_failed: { status: 417, title: 'The expectation cannot be met' },
  invalid_task_file: { status: 422, title: 'The file is not a task of this server' },
  empty_text: { status: 422, title: 'A text is empty' },
  text_too_long: { status: 422, title: 'A text is longer than the model takes' },
  text_pair_not_taken: { status: 422, title: 'The task takes one text, not a pair' },
  threshold_not_taken: { status: 422, title: 'The tasks take no threshold' },
  too_many_inputs: { status: 422, title: 'The request has too many inputs' },
  request_too_costly: { status: 422, title: 'The request would take too much work or memory' },
  text_fails_engines: { status: 422, title: 'Engines were lost with the text' },
  answer_too_large: { status: 422, title: 'The answer would be too large' },
  overloaded: { status: 429, title: 'Too much is waiting', retryAfter: 1 },
  rate_limited: { status: 429, title: 'The tenant asks too fast' },
  headers_too_large: { status: 431, title: 'The headers are too large' },
  client_closed_request: { status: 499, title: 'The client left' },
  internal: { status: 500, title: 'Something is wrong in the server' },
  not_ready: { status: 503, title: 'The server is starting', retryAfter: 1 },
  engine_lost: { status: 503, title: 'The engine was lost and is being replaced', retryAfter: 1 },
  shutting_down: { status: 503, title: 'The server is stopping', retryAfter: 5 },
  storage_failed: { status: 503, title: 'The change could not be stored', retryAfter: 5 },
  outcome_unknown: { status: 503, title: 'The change may have been made or not', retryAfter: 5 },
  storage_unavailable: { status: 503, title: 'The store of tasks and keys cannot be used', retryAfter: 5 },
  deadline_exceeded: { status: 504, title: 'The request cannot be answered in time' },
} as const satisfies Record<string, Meaning>

type HttpProblemCode = keyof typeof problems

const isHttpProblemCode = (code: ProblemCode): code is ProblemCode & HttpProblemCode => Object.hasOwn(problems, code)

/** What fastify says of a request, in our words. */
const codeOfFastify: Partial<Record<string, HttpProblemCode>> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'unsupported_media_type',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'invalid_json',
  FST_ERR_CTP_INVALID_JSON_BODY: 'invalid_json',
}

interface ProblemResponse {
  readonly code: HttpProblemCode
  readonly detail: string
  readonly details?: Readonly<Record<string, unknown>>
}

const internal: ProblemResponse = {
  code: 'internal',
  detail: 'the server failed; its log has the reason under this request id',
}

function problemResponse(error: FastifyError | Problem, request: FastifyRequest): ProblemResponse {
  if (error instanceof Problem)
    return isHttpProblemCode(error.code)
      ? { code: error.code, detail: error.message, details: error.details }
      : internal
  if (error.validation) return { code: 'invalid_request', detail: describeValidation(error) }
  const known = codeOfFastify[error.code]
  if (known) return { code: known, detail: detailOf(known, request) ?? error.message }
  if (error instanceof SyntaxError) return { code: 'invalid_json', detail: error.message }
  if (error.statusCode !== undefined && error.statusCode >= 400 && error.statusCode < 500)
    return { code: 'invalid_request', detail: error.message }
  return internal
}

/** What was expected, where fastify only says that something else came. */
function detailOf(code: HttpProblemCode, request: FastifyRequest): string | undefined {
  if (code !== 'unsupported_media_type') return undefined
  const { schema } = request.routeOptions
  const given = request.headers['content-type']
  const expected = (schema as { consumes?: readonly string[] } | undefined)?.consumes ?? ['application/json']
  return contentTypeDetail(given, expected.join(' or '))
}

export const contentTypeDetail = (given: string | undefined, expected: string): string =>
  `the content type is ${given === undefined ? 'not given' : quoted(given)}; expected ${expected}`

/** The whole answer's body. */
export function problemBody(code: HttpProblemCode, detail: string, requestId?: string, details: object = {}) {
  const { status, title } = problems[code]
  return {
    type: `urn:propetl:problem:${code}`,
    title,
    status,
    code,
    detail,
    ...(requestId !== undefined && { request_id: requestId }),
    ...details,
  }
}

/** Fastify's error handler: the one place that turns errors into answers. */
export function sendProblem(error: FastifyError | Problem, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const { code, detail, details } = problemResponse(error, request)
  const meaning: Meaning = problems[code]
  if (code === 'internal') request.log.error({ err: error }, 'request failed')
  else request.log.debug({ code, detail }, 'request refused')
  const retryAfter = details?.retry_after_s ?? meaning.retryAfter
  if (retryAfter !== undefined) reply.header('retry-after', retryAfter)
  if (code === 'unauthenticated') reply.header('www-authenticate', 'Bearer realm="propetl"')
  // RFC 9110, section 12.5.3: which codings would have been taken.
  if (code === 'unsupported_media_type') reply.header('accept-encoding', 'identity')
  return (
    reply
      .code(meaning.status)
      // As bytes: to a text fastify would add a charset, which JSON has not.
      .type('application/problem+json')
      .send(Buffer.from(JSON.stringify(problemBody(code, detail, request.id, details))))
  )
}

interface ValidationFinding {
  readonly instancePath: string
  readonly keyword?: string
  readonly message?: string | undefined
}

/**
 * What a validator found, in one sentence. Of a union it finds fault with every member; the one that was meant is the
 * one that fits furthest: its faults lie deepest, and are not about the type as a whole.
 */
function describeValidation(error: FastifyError): string {
  const findings = ((error.validation ?? []) as readonly ValidationFinding[]).filter(
    ({ keyword }) => keyword !== 'anyOf',
  )
  const depth = ({ instancePath }: ValidationFinding) => instancePath.split('/').length
  const deepest = findings.filter((finding) => depth(finding) === Math.max(...findings.map(depth)))
  const particular = deepest.filter(({ keyword }) => keyword !== 'type')
  const said = new Set((particular.length > 0 ? particular : deepest).map(describeFinding))
  return [...said]
    .slice(0, 8)
    .map((what) => `${error.validationContext ?? 'request'}${what}`)
    .join(', or ')
}

const describeFinding = ({ instancePath, message = 'is not valid' }: ValidationFinding): string =>
  `${shortened(instancePath, 200)} ${message}`
