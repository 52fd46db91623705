// The routes of tasks: list, describe, download, upload, delete.

import type { IncomingMessage } from 'node:http'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Static } from 'typebox'
import { answerFactor } from '../../costs/memory.js'
import { digestOf } from '../../formats/digest.js'
import type { Owner } from '../../owner.js'
import { describeTask } from '../../tasks/description.js'
import type { Task } from '../../tasks/ready-tasks.js'
import { checkTaskId, type Origin, type Registry } from '../../tasks/registry.js'
import { taskOwnerOf } from '../../tenants/access.js'
import { actorOf } from '../../tenants/audit.js'
import { afterResponse } from '../after-response.js'
import type { ReadBody } from '../bodies.js'
import { callerOf, recordChange, recordIfUnknown } from '../callers.js'
import { sendInChunks } from '../downloads.js'
import { etagOf, isUnchanged, preconditionOf } from '../etags.js'
import { type FormPart, readForm } from '../forms.js'
import { sendLarge, smallResponseValues } from '../large-responses.js'
import { curlType, readMediaType } from '../media-types.js'
import { etagHeader, locationHeader, noContent, problemResponses, responseOf } from '../schemas/common.js'
import {
  conditionHeaders,
  ownTaskParams,
  taskFile,
  taskForm,
  taskListQuery,
  taskListSchema,
  taskParams,
  taskSchema,
  versionQuery,
} from '../schemas/tasks.js'
import type { Lifecycle } from '../services.js'
import { expectFile, expectForm, fileType, formBytes, formLimits, formType, uploadOf } from '../task-uploads.js'

export interface TaskLimits {
  readonly maxUploadBytes: number
}

/** Bytes of JSON of a task in a list. */
const bytesOfListed = 250

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
          summary: 'Lists the tasks in the order of their ids, in pages',
          querystring: taskListQuery,
          response: { 200: responseOf(taskListSchema, 'A page of tasks'), ...problemResponses(400, 401, 429, 503) },
        },
      },
      async (request, reply) => {
        const { costs, registry } = lifecycle.services
        const { owner } = callerOf(request)
        const { after = '', limit = 100, search } = request.query
        const page = await costs.work.run(owner, registry.page(owner, after, limit, search?.toLowerCase()))
        const { next } = page
        const tasks = page.tasks.map(({ id, digest, origin, examples }) => ({ id, version: digest, origin, examples }))
        const response = { total: registry.countOf(owner), tasks, next }
        if (4 * tasks.length < smallResponseValues) return response
        hold(reply, owner, answerFactor * bytesOfListed * tasks.length)
        return sendLarge(reply, costs.work, owner, response)
      },
    )

    app.get(
      '/tasks/:id',
      {
        schema: {
          operationId: 'describeTask',
          tags: ['tasks'],
          summary: 'Describes a task: problem type, labels, head, mask, storage',
          params: taskParams,
          querystring: versionQuery,
          headers: conditionHeaders,
          response: {
            200: responseOf(taskSchema, 'The description of the task', etagHeader),
            304: noContent('The task is unchanged', etagHeader),
            ...problemResponses(400, 401, 404, 409, 412, 429, 503),
          },
        },
      },
      async (request, reply) => {
        const { registry } = lifecycle.services
        const { owner } = callerOf(request)
        const { id } = request.params
        const { version } = request.query
        const digest = registry.version(owner, id, version)
        reply.header('etag', etagOf(digest))
        if (isUnchanged(request.headers, digest)) return notModified(reply)
        const { task, release } = await registry.use(owner, id, { version })
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
          summary: 'Downloads the task file, byte for byte',
          params: taskParams,
          querystring: versionQuery,
          headers: conditionHeaders,
          response: {
            200: { description: 'The task file', headers: etagHeader, content: { [fileType]: { schema: taskFile } } },
            304: noContent('The task is unchanged', etagHeader),
            ...problemResponses(400, 401, 404, 409, 412, 429, 503),
          },
        },
      },
      async (request, reply) => {
        const { costs, registry } = lifecycle.services
        const { owner } = callerOf(request)
        const { id } = request.params
        const digest = registry.version(owner, id, request.query.version)
        reply.header('etag', etagOf(digest))
        if (isUnchanged(request.headers, digest)) return notModified(reply)
        // The size is known only after reading: reject now if the largest file would not fit.
        const held = costs.pools.answers.take(owner, limits.maxUploadBytes)
        held.release()
        const file = registry.file(owner, id, digest)
        hold(reply, owner, file.byteLength)
        reply.header('content-disposition', `attachment; filename="${id}.safetensors"`)
        return sendInChunks(reply.type(fileType), file)
      },
    )

    app.put(
      '/tasks/:id',
      {
        bodyLimit: limits.maxUploadBytes,
        onRequest: [expectFile, async (request) => checkRoom(request, checkTaskId(request.params.id), 0)],
        schema: {
          operationId: 'putTask',
          tags: ['tasks'],
          summary: 'Uploads a task file, or replaces one; the task is live at once',
          description:
            'The response is sent once the file is stored durably. You can send the same file again at any time, for ' +
            'example after a 503 with the code `outcome_unknown`: that changes nothing if it is stored already. ' +
            `The server treats ${curlType}, the default of curl, as ${fileType}.`,
          consumes: [fileType],
          params: ownTaskParams,
          headers: conditionHeaders,
          body: { content: { [fileType]: { schema: taskFile } } },
          response: {
            200: responseOf(taskSchema, 'The task was replaced', etagHeader),
            201: responseOf(taskSchema, 'The task is new', { ...etagHeader, ...locationHeader }),
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
        onRequest: [expectForm, async (request) => checkRoom(request, undefined, formBytes)],
        // uploadOf checks the parts.
        validatorCompiler: () => (value: unknown) => ({ value }),
        schema: {
          operationId: 'postTask',
          tags: ['tasks'],
          summary: 'Uploads a task file from a form; the id is a field, or the name of the file',
          consumes: [formType],
          body: taskForm,
          response: {
            200: responseOf(taskSchema, 'The task was replaced', etagHeader),
            201: responseOf(taskSchema, 'The task is new', { ...etagHeader, ...locationHeader }),
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
          summary: 'Deletes an uploaded task',
          params: ownTaskParams,
          headers: conditionHeaders,
          response: { 204: noContent('The task was deleted'), ...problemResponses(400, 401, 404, 409, 412, 429, 503) },
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
      const putting = registry.put(taskOwnerOf(caller), id, bytes, preconditionOf(request.headers), actorOf(caller))
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
      const response = taskResponse(id, task, origin, registry)
      if (response.labels.length < smallResponseValues) return response
      hold(reply, owner, answerFactor * task.labelBytes.all)
      return sendLarge(reply, costs.work, owner, response)
    }

    /** Reserves memory for a response until it is sent. @throws Problem `overloaded` */
    function hold(reply: FastifyReply, owner: Owner, bytes: number): void {
      afterResponse(reply, lifecycle.services.costs.pools.answers.take(owner, bytes).release)
    }

    /**
     * Rejects a file that would exceed the quotas, before it is read.
     * @param around bytes of the body that do not belong to the file
     * @throws Problem `quota_exceeded`
     */
    function checkRoom(request: FastifyRequest, id: string | undefined, around: number): void {
      const bytes = Number(request.headers['content-length'] ?? 0) - around
      if (bytes > 0) lifecycle.current?.registry.store.checkRoom(taskOwnerOf(callerOf(request)), id, bytes)
    }
  }

function taskResponse(id: string, task: Task, origin: Origin, registry: Registry) {
  const described = describeTask(task.file, registry.model)
  return { id, version: task.file.digest, origin, ...described } satisfies Static<typeof taskSchema>
}

/** The cast is needed because Fastify's types cannot mix responses with and without a body. */
function notModified(reply: FastifyReply): never {
  return reply.code(304).send(null) as never
}
