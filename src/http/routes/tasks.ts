// Tasks as a resource: list, describe, download, upload, remove.

import type { IncomingMessage } from 'node:http'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { type Static, Type } from 'typebox'
import { answerFactor } from '../../costs/memory.js'
import { digestOf } from '../../formats/digest.js'
import { Problem, quoted } from '../../problem.js'
import { describeTask } from '../../tasks/description.js'
import type { Task } from '../../tasks/ready-tasks.js'
import { checkTaskId, type Origin, type Registry } from '../../tasks/registry.js'
import { taskOwnerOf } from '../../tenants/access.js'
import type { Owner } from '../../tenants/tenant.js'
import { afterResponse } from '../after-response.js'
import { type ReadBody, tooLarge } from '../bodies.js'
import { callerOf, recordChange, recordIfUnknown } from '../callers.js'
import { sendInChunks } from '../downloads.js'
import { etagOf, etagsPattern, isUnchanged, preconditionOf } from '../etags.js'
import { type FormPart, readForm } from '../forms.js'
import { sendLarge, smallResponseValues } from '../large-responses.js'
import { readMediaType } from '../media-types.js'
import { pageOf } from '../page.js'
import { contentTypeDetail } from '../problems.js'
import {
  bytesBody,
  etagHeader,
  listAnswer,
  listQuery,
  locationHeader,
  noContent,
  problemResponses,
  taskAnswer,
  taskId,
  taskParams,
} from '../schemas.js'
import type { Lifecycle } from '../services.js'

export interface TaskLimits {
  readonly maxUploadBytes: number
}

const fileType = 'application/octet-stream'
/** What curl calls any body unless told otherwise. */
const curlType = 'application/x-www-form-urlencoded'

const conditionHeaders = Type.Object({
  'if-match': Type.Optional(
    Type.String({
      pattern: etagsPattern,
      description: 'Only if the task is at one of these ETags, as in "v1", "v2"; * for any',
    }),
  ),
  'if-none-match': Type.Optional(
    Type.String({
      pattern: etagsPattern,
      description: 'Only if it is at none of these; * for: only if it is new',
    }),
  ),
})

/** A task in a list, in bytes of JSON. */
const bytesOfListed = 250

const formType = 'multipart/form-data'
/** What a form may hold around its file, in bytes. */
const formBytes = 64 * 1024
const formLimits = { parts: 5, headerBytes: 8 * 1024 }

export const taskRoutes =
  (lifecycle: Lifecycle, limits: TaskLimits, readBody: ReadBody): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.addContentTypeParser([fileType, curlType], readBody)
    app.addContentTypeParser(formType, async (request: FastifyRequest, payload: IncomingMessage) => {
      const boundary = readMediaType(request.headers['content-type']).parameters.get('boundary') ?? ''
      return readForm(await readBody(request, payload), boundary, formLimits)
    })

    app.get(
      '/tasks',
      {
        schema: {
          operationId: 'listTasks',
          tags: ['tasks'],
          summary: 'Tasks in the order of their ids, page by page',
          querystring: listQuery,
          response: { 200: listAnswer, ...problemResponses(400, 401, 429, 503) },
        },
      },
      async (request, reply) => {
        const { costs, registry } = lifecycle.services
        const { owner } = callerOf(request)
        const { after = '', limit = 100 } = request.query
        const found = await costs.work.run(owner, registry.list(owner, after, limit + 1))
        const { page, next } = pageOf(limit, found)
        const tasks = page.map(({ id, digest, origin }) => ({ id, version: digest, origin }))
        const answer = { total: registry.countOf(owner), tasks, next }
        if (3 * tasks.length < smallResponseValues) return answer
        hold(reply, owner, answerFactor * bytesOfListed * tasks.length)
        return sendLarge(reply, costs.work, owner, answer)
      },
    )

    app.get(
      '/tasks/:id',
      {
        schema: {
          operationId: 'describeTask',
          tags: ['tasks'],
          summary: 'What a task is: labels, mask density, overlap with the layer masks, storage',
          params: taskParams,
          headers: conditionHeaders,
          response: {
            200: { ...taskAnswer, headers: etagHeader },
            304: noContent('Unchanged', etagHeader),
            ...problemResponses(400, 401, 404, 409, 412, 429, 503),
          },
        },
      },
      async (request, reply) => {
        const { registry } = lifecycle.services
        const { owner } = callerOf(request)
        const { id } = request.params
        const version = registry.version(owner, id)
        reply.header('etag', etagOf(version))
        if (isUnchanged(request.headers, version)) return notModified(reply)
        const { task, release } = await registry.use(owner, id)
        afterResponse(reply, release)
        reply.header('etag', etagOf(task.file.digest))
        return describe(id, task, registry.origin(owner, id), reply, owner)
      },
    )

    app.get(
      '/tasks/:id/file',
      {
        schema: {
          operationId: 'downloadTask',
          tags: ['tasks'],
          summary: 'The task file, byte for byte',
          params: taskParams,
          headers: conditionHeaders,
          response: {
            200: { description: 'The task file', headers: etagHeader, content: { [fileType]: { schema: bytesBody } } },
            304: noContent('Unchanged', etagHeader),
            ...problemResponses(400, 401, 404, 409, 412, 429, 503),
          },
        },
      },
      async (request, reply) => {
        const { costs, registry } = lifecycle.services
        const { owner } = callerOf(request)
        const { id } = request.params
        const digest = registry.version(owner, id)
        reply.header('etag', etagOf(digest))
        if (isUnchanged(request.headers, digest)) return notModified(reply)
        // Its size is known once it is read: there has to be room for the largest.
        const held = costs.pools.answers.take(owner, limits.maxUploadBytes)
        held.release()
        const file = registry.file(owner, id)
        hold(reply, owner, file.byteLength)
        reply.header('content-disposition', `attachment; filename="${id}.safetensors"`)
        return sendInChunks(reply.type(fileType), file)
      },
    )

    app.put(
      '/tasks/:id',
      {
        bodyLimit: limits.maxUploadBytes,
        onRequest: [
          expectType(fileType, curlType),
          async (request) => checkRoom(request, checkTaskId(request.params.id), 0),
        ],
        schema: {
          operationId: 'putTask',
          tags: ['tasks'],
          summary: 'Registers a task file, or replaces one; live at once',
          description:
            'Answered once the file would survive a power cut. The same file may be sent again: that changes nothing, ' +
            'whether or not the first request was carried out (503 with the code `outcome_unknown`). ' +
            `${curlType}, curl's default, is taken for ${fileType}.`,
          consumes: [fileType],
          params: taskParams,
          headers: conditionHeaders,
          body: { content: { [fileType]: { schema: bytesBody } } },
          response: {
            200: { ...taskAnswer, description: 'Replaced', headers: etagHeader },
            201: { ...taskAnswer, description: 'New', headers: { ...etagHeader, ...locationHeader } },
            ...problemResponses(400, 401, 403, 404, 409, 412, 413, 415, 422, 429, 503),
          },
        },
      },
      async (request, reply) => {
        return upload(request.params.id, request.body as Buffer, request, reply)
      },
    )

    app.post(
      '/tasks',
      {
        bodyLimit: limits.maxUploadBytes + formBytes,
        onRequest: [expectType(formType), async (request) => checkRoom(request, undefined, formBytes)],
        // The parts are checked one by one.
        validatorCompiler: () => (value: unknown) => ({ value }),
        schema: {
          operationId: 'postTask',
          tags: ['tasks'],
          summary: 'The same for forms: a file, and the id beside it or as the file’s name',
          consumes: [formType],
          body: Type.Object({ id: Type.Optional(taskId), file: bytesBody }, { additionalProperties: false }),
          response: {
            200: { ...taskAnswer, description: 'Replaced', headers: etagHeader },
            201: { ...taskAnswer, description: 'New', headers: { ...etagHeader, ...locationHeader } },
            ...problemResponses(400, 401, 403, 404, 409, 412, 413, 415, 422, 429, 503),
          },
        },
      },
      async (request, reply) => {
        const { id, file } = uploadOf(request.body as unknown as readonly FormPart[], limits.maxUploadBytes)
        return upload(id, file, request, reply)
      },
    )

    app.delete(
      '/tasks/:id',
      {
        schema: {
          operationId: 'deleteTask',
          tags: ['tasks'],
          summary: 'Removes an uploaded task',
          params: taskParams,
          headers: conditionHeaders,
          response: { 204: noContent('Removed'), ...problemResponses(400, 401, 404, 409, 412, 429, 503) },
        },
      },
      async (request, reply) => {
        const caller = callerOf(request)
        const { id } = request.params
        const { registry } = lifecycle.services
        const change = { action: 'task.delete', tenant: caller.owner, object: id } as const
        const removing = registry.delete(taskOwnerOf(caller), id, preconditionOf(request.headers))
        const before = await recordIfUnknown(request, removing, () => change)
        recordChange(request, { ...change, before })
        return reply.code(204).send(null)
      },
    )

    async function upload(id: string, bytes: Buffer, request: FastifyRequest, reply: FastifyReply) {
      const { registry } = lifecycle.services
      const caller = callerOf(request)
      const change = { action: 'task.put', tenant: caller.owner, object: id } as const
      const putting = registry.put(taskOwnerOf(caller), id, bytes, preconditionOf(request.headers))
      const { task, previous } = await recordIfUnknown(request, putting, () => ({ ...change, after: digestOf(bytes) }))
      recordChange(request, {
        ...change,
        ...(previous !== undefined && { before: previous }),
        after: task.file.digest,
      })
      reply.header('etag', etagOf(task.file.digest)).code(previous === undefined ? 201 : 200)
      if (previous === undefined) reply.header('location', `/tasks/${id}`)
      return describe(id, task, 'uploaded', reply, caller.owner)
    }

    async function describe(id: string, task: Task, origin: Origin, reply: FastifyReply, owner: Owner) {
      const { registry, costs } = lifecycle.services
      const answer = taskResponse(id, task, origin, registry)
      if (answer.labels.length < smallResponseValues) return answer
      hold(reply, owner, answerFactor * task.labelBytes.all)
      return sendLarge(reply, costs.work, owner, answer)
    }

    /** Takes memory for an answer until it is sent. @throws Problem `overloaded` */
    function hold(reply: FastifyReply, owner: Owner, bytes: number): void {
      afterResponse(reply, lifecycle.services.costs.pools.answers.take(owner, bytes).release)
    }

    /** Refuses a file that the quotas have no room for, before it is read. @param around bytes that are not the file's */
    function checkRoom(request: FastifyRequest, id: string | undefined, around: number): void {
      const bytes = Number(request.headers['content-length'] ?? 0) - around
      if (bytes > 0) lifecycle.current?.registry.store.checkRoom(taskOwnerOf(callerOf(request)), id, bytes)
    }
  }

function taskResponse(id: string, task: Task, origin: Origin, registry: Registry) {
  const described = describeTask(task.file, registry.prototype)
  return { id, version: task.file.digest, origin, ...described } satisfies Static<typeof taskAnswer>
}

/** Fastify's types know no answer without a body beside one with. */
function notModified(reply: FastifyReply): never {
  return reply.code(304).send(null) as never
}

/** Refuses other bodies before they are read, even those that the rest of the API takes. */
function expectType(...types: readonly string[]) {
  return async ({ headers }: FastifyRequest): Promise<void> => {
    const given = headers['content-type']
    if (types.includes(readMediaType(given).type)) return
    throw new Problem('unsupported_media_type', contentTypeDetail(given, `${types[0]}, with a task file in it`))
  }
}

/** @throws Problem `invalid_request` for other parts than one file and one id, `invalid_task_id`, `body_too_large` */
function uploadOf(parts: readonly FormPart[], maxBytes: number): { id: string; file: Buffer } {
  const file = parts.find(({ name, filename }) => name === 'file' && filename !== undefined)
  const id = parts.find(({ name, filename }) => name === 'id' && filename === undefined)
  const others = parts.filter((part) => part !== file && part !== id)
  if (file === undefined || others.length > 0)
    throw new Problem(
      'invalid_request',
      `the form has ${others.length > 0 ? others.map(described).join(', ') : 'no file'}; expected one file "file", and optionally one field "id"`,
    )
  const { content, filename = '' } = file
  if (content.byteLength > maxBytes) throw tooLarge(maxBytes)
  return {
    id: checkTaskId(id?.content.toString('utf8', 0, 1_000) ?? filename.replace(/\.safetensors$/, '')),
    file: content,
  }
}

const described = ({ name, filename }: FormPart): string =>
  `a ${filename === undefined ? 'field' : 'file'} ${quoted(name)}${filename === undefined && name === 'file' ? ' without a filename' : ''}`
