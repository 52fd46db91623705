// What the schemas of several routes share: problems, headers, ids and pages. The schemas are the one source of
// validation, TypeScript types and the OpenAPI document.

import { type Static, type TArrayOptions, type TSchema, type TSchemaOptions, Type } from 'typebox'
import { taskIdPattern } from '../../tasks/registry.js'
import { component } from './component.js'

export const oneOf = (choices: readonly string[], options: TSchemaOptions = {}) => Type.Enum([...choices], options)

/** An array in a response. The code may return a read-only one. */
export const list = <T extends TSchema>(item: T, options: TArrayOptions = {}) =>
  Type.Unsafe<readonly Static<T>[]>(Type.Array(item, options))

export const orNull = <T extends TSchema>(schema: T, description: string) =>
  Type.Union([schema, Type.Null()], { description })

const problemSchema = component(
  'Problem',
  Type.Object(
    {
      type: Type.String({ description: 'urn:propetl:problem: and the code' }),
      title: Type.String({ description: 'What this code means, the same for every request' }),
      status: Type.Integer({ description: 'HTTP status' }),
      code: Type.String({ description: 'Name of the kind of problem. It is stable; later versions may add codes.' }),
      detail: Type.String({ description: 'What is wrong, where, what was expected, and what to do' }),
      request_id: Type.Optional(Type.String({ description: 'Also in the X-Request-Id header and in the log' })),
    },
    { description: 'An error as in RFC 9457. Some codes add fields, such as a limit.', additionalProperties: true },
  ),
)

/** A response without a body. */
export const noContent = (description: string, headers: object = {}) => Type.Null({ description, headers })

/** A response with a description and headers of its own. */
export const responseOf = <T extends TSchema>(schema: T, description: string, headers: object = {}): T =>
  Object.assign({ ...schema }, { 'x-response-description': description, headers })

export const etagHeader = {
  etag: Type.String({ pattern: '^"[0-9a-f]{64}"$', description: 'SHA-256 of the task file' }),
}
export const locationHeader = { location: Type.String({ description: 'Path of the new resource' }) }

/** The responses of a route that are problems, by status. */
export const problemResponses = (...statuses: readonly number[]) =>
  Object.fromEntries(
    statuses.map((status) => [
      status,
      {
        description: statusMeanings[status] ?? 'Problem',
        ...(statusHeaders[status] && { headers: statusHeaders[status] }),
        content: { 'application/problem+json': { schema: problemSchema } },
      },
    ]),
  )

const retryAfter = {
  'retry-after': Type.Integer({ minimum: 0, description: 'Seconds to wait before you try again' }),
}
const statusHeaders: Record<number, object> = {
  401: { 'www-authenticate': Type.String({ description: 'The expected authentication scheme' }) },
  429: retryAfter,
  503: retryAfter,
}

const statusMeanings: Record<number, string> = {
  400: 'The request is malformed',
  401: 'The API key is missing, unknown, expired or revoked',
  403: 'The API key does not allow this, or the storage quota is exceeded',
  404: 'There is no such resource, or the API key cannot see it',
  409: 'The resource cannot be changed, or the task belongs to another prototype or backbone',
  412: 'The task is not at the expected version',
  413: 'The body is too large',
  415: 'The content type, charset or content encoding is not supported',
  422: 'The request is well-formed, but its content cannot be processed',
  429: 'The rate limit is exceeded, or the server is overloaded. Retry-After says when to try again.',
  503:
    'The server is starting or stopping, or it cannot store changes. Nothing was changed, except with the code ' +
    '`outcome_unknown`: then the change may have been made. Retry-After says when to try again.',
  504: 'The deadline of the request has passed, or the request cannot meet it',
}

export const taskId = Type.String({ pattern: taskIdPattern, description: 'Id of the task', examples: ['sst2'] })

/** The query of a list that comes in pages. */
export const pageQuery = (idPattern: string) =>
  Type.Object(
    {
      after: Type.Optional(
        Type.String({
          pattern: idPattern,
          description: 'Returns only ids after this one: the `next` of the previous page',
        }),
      ),
      limit: Type.Optional(
        Type.Integer({ minimum: 1, maximum: 1000, default: 100, description: 'Most entries of a page' }),
      ),
    },
    { additionalProperties: false },
  )

export const nextPage = orNull(Type.String(), 'Pass it as `after` to get the next page; null on the last page')
