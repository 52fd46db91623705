// Errors as responses: application/problem+json (RFC 9457), each with a stable code.

import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { Problem, type ProblemCode, quoted } from '../problem.js'
import { curlType } from './media-types.js'

interface Meaning {
  readonly status: number
  readonly title: string
  /** Seconds to wait before another attempt. */
  readonly retryAfter?: number
}

export const problems = {
  not_safetensors: { status: 400, title: 'The file is not a valid safetensors file' },
  invalid_request: { status: 400, title: 'The request is malformed' },
  invalid_json: { status: 400, title: 'The body is not valid JSON' },
  invalid_task_id: { status: 400, title: 'The task id is invalid' },
  invalid_tenant_id: { status: 400, title: 'The tenant id is invalid' },
  unauthenticated: { status: 401, title: 'The request has no valid API key' },
  forbidden: { status: 403, title: 'The caller may not do this' },
  quota_exceeded: { status: 403, title: 'The storage quota is exceeded' },
  not_found: { status: 404, title: 'There is no such route' },
  unknown_task: { status: 404, title: 'There is no such task' },
  unknown_version: { status: 404, title: 'There is no such version' },
  no_report: { status: 404, title: 'The version has no report' },
  unknown_example: { status: 404, title: 'There is no such example' },
  unknown_tenant: { status: 404, title: 'There is no such tenant' },
  unknown_request: { status: 404, title: 'No text of that request is kept' },
  unknown_key: { status: 404, title: 'There is no such API key' },
  unknown_job: { status: 404, title: 'There is no such job' },
  method_not_allowed: { status: 405, title: 'The route does not support this method' },
  request_timeout: { status: 408, title: 'The request took too long to arrive' },
  tenant_leaving: { status: 409, title: 'The tenant is being deleted' },
  last_operator_key: { status: 409, title: 'The last API key of the operator cannot be revoked' },
  prototype_mismatch: { status: 409, title: 'The task belongs to another prototype' },
  backbone_mismatch: { status: 409, title: 'The task belongs to another backbone' },
  no_examples: { status: 409, title: 'The task has no examples' },
  job_exists: { status: 409, title: 'A job for this task waits already' },
  job_finished: { status: 409, title: 'The job has ended' },
  learning_disabled: { status: 409, title: 'The server does not train tasks' },
  task_read_only: { status: 409, title: 'The task is read-only' },
  version_in_use: { status: 409, title: 'The version is active' },
  no_version: { status: 409, title: 'The task has no active version' },
  examples_deleted: { status: 409, title: 'The examples were deleted meanwhile' },
  texts_not_kept: { status: 409, title: 'The task keeps no texts' },
  precondition_failed: { status: 412, title: 'The task is not at the expected version' },
  body_too_large: { status: 413, title: 'The body is too large' },
  unsupported_media_type: { status: 415, title: 'The content type or encoding is not supported' },
  expectation_failed: { status: 417, title: 'The Expect header is not supported' },
  invalid_data: { status: 422, title: 'The data cannot be used' },
  invalid_task_file: { status: 422, title: 'The file is not a valid task file' },
  empty_text: { status: 422, title: 'A text is empty' },
  text_too_long: { status: 422, title: 'A text is longer than the task reads' },
  text_pair_not_taken: { status: 422, title: 'The task does not support pairs of texts' },
  text_pair_missing: { status: 422, title: 'The task needs pairs of texts' },
  threshold_not_taken: { status: 422, title: 'The tasks do not support a threshold' },
  suggestions_unsupported: { status: 422, title: 'Tasks of this type have no suggestions' },
  too_many_inputs: { status: 422, title: 'The request has too many inputs' },
  request_too_costly: { status: 422, title: 'The request needs too much work or memory' },
  text_fails_engines: { status: 422, title: 'The engine failed repeatedly with this text' },
  answer_too_large: { status: 422, title: 'The response would be too large' },
  overloaded: { status: 429, title: 'The server is overloaded', retryAfter: 1 },
  too_many_jobs: { status: 429, title: 'Too many jobs wait or run' },
  too_many_streams: { status: 429, title: 'Too many event streams are open', retryAfter: 1 },
  rate_limited: { status: 429, title: 'The rate limit is exceeded' },
  headers_too_large: { status: 431, title: 'The headers are too large' },
  client_closed_request: { status: 499, title: 'The client closed the connection' },
  internal: { status: 500, title: 'The server failed' },
  not_ready: { status: 503, title: 'The server is starting', retryAfter: 1 },
  engine_lost: { status: 503, title: 'The engine failed and is being replaced', retryAfter: 1 },
  shutting_down: { status: 503, title: 'The server is shutting down', retryAfter: 5 },
  storage_failed: { status: 503, title: 'The change could not be stored', retryAfter: 5 },
  outcome_unknown: { status: 503, title: 'It is unknown whether the change was stored', retryAfter: 5 },
  storage_unavailable: { status: 503, title: 'The store of tasks and API keys is unavailable', retryAfter: 5 },
  deadline_exceeded: { status: 504, title: 'The request misses its deadline' },
} as const satisfies Record<string, Meaning>

type HttpProblemCode = keyof typeof problems

const isHttpProblemCode = (code: ProblemCode): code is ProblemCode & HttpProblemCode => Object.hasOwn(problems, code)

interface ProblemResponse {
  readonly code: HttpProblemCode
  readonly detail: string
  readonly details?: Readonly<Record<string, unknown>>
}

const internal: ProblemResponse = {
  code: 'internal',
  detail: 'the server failed; search its log for this request_id to find the reason',
}

function problemResponse(error: FastifyError | Problem, request: FastifyRequest): ProblemResponse {
  if (error instanceof Problem)
    return isHttpProblemCode(error.code)
      ? { code: error.code, detail: error.message, details: error.details }
      : internal
  if (error.code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE')
    return { code: 'unsupported_media_type', detail: expectedTypeDetail(request) }
  if (error.statusCode !== undefined && error.statusCode >= 400 && error.statusCode < 500)
    return { code: 'invalid_request', detail: error.message }
  return internal
}

function expectedTypeDetail({ routeOptions, headers }: FastifyRequest): string {
  const { consumes = ['application/json'] } = (routeOptions.schema ?? {}) as { consumes?: readonly string[] }
  return contentTypeDetail(headers['content-type'], consumes.join(' or '))
}

/** @param given the Content-Type header, if there is one */
export function contentTypeDetail(given: string | undefined, expected: string): string {
  const is = given === undefined ? 'the request has no content type' : `the content type is ${quoted(given)}`
  const advice = given === curlType ? `; curl needs the option -H "content-type: ${expected.split(' ', 1)}"` : ''
  return `${is}; expected ${expected}${advice}`
}

/** The body of a problem response. */
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

/** Fastify's error handler: the one place that turns errors into responses. */
export function sendProblem(error: FastifyError | Problem, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const { code, detail, details } = problemResponse(error, request)
  const meaning: Meaning = problems[code]
  if (code === 'internal') request.log.error({ err: error }, 'request failed')
  else request.log.debug({ code, detail }, 'request rejected')
  const retryAfter = details?.retry_after_s ?? meaning.retryAfter
  if (retryAfter !== undefined) reply.header('retry-after', retryAfter)
  if (code === 'unauthenticated') reply.header('www-authenticate', 'Bearer realm="propetl"')
  // RFC 9110, section 12.5.3: the supported content encodings.
  if (code === 'unsupported_media_type') reply.header('accept-encoding', 'identity')
  return (
    reply
      .code(meaning.status)
      // As bytes: Fastify would add a charset to text, but JSON has none.
      .type('application/problem+json')
      .send(Buffer.from(JSON.stringify(problemBody(code, detail, request.id, details))))
  )
}
