// The routes of the versions of tasks: list, report, activate, try and delete.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply } from 'fastify'
import type { Static } from 'typebox'
import type { Owner } from '../../owner.js'
import { Problem, quoted } from '../../problem.js'
import type { ListedVersion, TaskVersions } from '../../tasks/registry.js'
import type { Trial } from '../../tasks/versions.js'
import { taskOwnerOf } from '../../tenants/access.js'
import { callerOf, recordChange, recordIfUnknown } from '../callers.js'
import { etagOf, preconditionOf } from '../etags.js'
import { etagHeader, noContent, problemResponses, responseOf } from '../schemas/common.js'
import { conditionHeaders, ownTaskParams, taskParams } from '../schemas/tasks.js'
import {
  activeRequest,
  reportSchema,
  versionListQuery,
  versionListSchema,
  versionParams,
  type versionSchema,
} from '../schemas/versions.js'
import type { Lifecycle } from '../services.js'

/** Most versions of a page, unless the request asks for fewer or more. */
const defaultLimit = 100

export const versionRoutes =
  (lifecycle: Lifecycle): FastifyPluginAsyncTypebox =>
  async (app) => {
    const tags = ['versions']

    app.get(
      '/tasks/:id/versions',
      {
        schema: {
          operationId: 'listVersions',
          tags,
          summary: 'Lists the versions of a task, newest first, in pages',
          params: taskParams,
          querystring: versionListQuery,
          response: {
            200: responseOf(versionListSchema, 'A page of versions'),
            ...problemResponses(400, 401, 404, 409, 429, 503),
          },
        },
      },
      async (request, reply) => {
        const { after, limit = defaultLimit } = request.query
        const { owner } = callerOf(request)
        return listed(owner, request.params.id, reply, limit, after === undefined ? undefined : Number(after))
      },
    )

    app.get(
      '/tasks/:id/versions/:version/report',
      {
        schema: {
          operationId: 'getReport',
          tags,
          summary: 'Gets the report of the training of a version',
          params: versionParams,
          response: {
            200: responseOf(reportSchema, 'The report'),
            ...problemResponses(400, 401, 404, 409, 429, 503),
          },
        },
      },
      async (request, reply) => {
        const { registry } = lifecycle.services
        const { owner } = callerOf(request)
        const { id } = request.params
        const number = numberOf(id, request.params.version)
        registry.version(owner, id, number)
        const report = registry.store.report(owner, id, number)
        if (report === undefined)
          throw new Problem('no_report', `version ${number} of task "${id}" was not trained by a job of this server`, {
            task: id,
            version: number,
          })
        // It is JSON already.
        return reply
          .type('application/json; charset=utf-8')
          .serializer(String)
          .send(report as never)
      },
    )

    app.put(
      '/tasks/:id/active',
      {
        schema: {
          operationId: 'putActive',
          tags,
          summary: 'Activates a version, at once and for all requests; or tries it on a share or a copy of the texts',
          params: ownTaskParams,
          headers: conditionHeaders,
          body: activeRequest,
          response: {
            200: responseOf(versionListSchema, 'The versions of the task', etagHeader),
            ...problemResponses(400, 401, 404, 409, 412, 413, 415, 422, 429, 503),
          },
        },
      },
      async (request, reply) => {
        const { registry } = lifecycle.services
        const caller = callerOf(request)
        const { id } = request.params
        const { version } = request.body
        const by = taskOwnerOf(caller)
        const trial = trialOf(request.body)
        const object = { tenant: caller.owner, object: id }
        const precondition = preconditionOf(request.headers)
        if (trial === undefined) {
          const change = { action: 'version.activate', ...object } as const
          const activating = registry.activate(by, id, version, precondition)
          const { before, after } = await recordIfUnknown(request, activating, () => ({
            ...change,
            after: { version },
          }))
          recordChange(request, { ...change, ...(before !== undefined && { before }), after })
        } else {
          const change = { action: 'version.candidate', ...object } as const
          const starting = registry.startTrial(by, id, version, trial, precondition)
          const changed = await recordIfUnknown(request, starting, () => ({ ...change, after: { version, trial } }))
          recordChange(request, { ...change, ...changed })
        }
        return listed(caller.owner, id, reply, defaultLimit)
      },
    )

    app.delete(
      '/tasks/:id/versions/:version',
      {
        schema: {
          operationId: 'deleteVersion',
          tags,
          summary: 'Deletes a version that is not active',
          params: versionParams,
          headers: conditionHeaders,
          response: {
            204: noContent('The version was deleted'),
            ...problemResponses(400, 401, 404, 409, 412, 429, 503),
          },
        },
      },
      async (request, reply) => {
        const { registry } = lifecycle.services
        const caller = callerOf(request)
        const { id } = request.params
        const number = numberOf(id, request.params.version)
        const change = { action: 'version.delete', tenant: caller.owner, object: id } as const
        const deleting = registry.deleteVersion(taskOwnerOf(caller), id, number, preconditionOf(request.headers))
        const before = { version: number }
        const { digest } = await recordIfUnknown(request, deleting, () => ({ ...change, before }))
        recordChange(request, { ...change, before: { ...before, digest } })
        return reply.code(204).send(null)
      },
    )

    /** @param before only versions with lower numbers */
    async function listed(owner: Owner, id: string, reply: FastifyReply, limit: number, before = Number.MAX_VALUE) {
      const { registry } = lifecycle.services
      const found = await registry.versions(owner, id)
      if (found.active) reply.header('etag', etagOf(found.active.digest))
      return listResponse(found, limit, before)
    }
  }

function listResponse(found: TaskVersions, limit: number, before: number) {
  const { active, versions } = found
  const newestFirst = versions.toReversed().filter(({ number }) => number < before)
  const page = newestFirst.slice(0, limit)
  const last = page.at(-1)
  const numberOfDigest = (digest: string) => versions.find((version) => version.digest === digest)?.number ?? null
  return {
    active: active ? numberOfDigest(active.digest) : null,
    candidate: candidateResponse(found),
    versions: page.map((version) => versionResponse(version, active)),
    next: last !== undefined && newestFirst.length > limit ? String(last.number) : null,
  } satisfies Static<typeof versionListSchema>
}

function candidateResponse({ active, versions }: TaskVersions) {
  const candidate = active?.candidate
  const version = candidate && versions.find(({ digest }) => digest === candidate.digest)
  if (candidate === undefined || version?.trial === undefined) return null
  const { trial } = candidate
  return { version: version.number, ...(trial === 'shadow' ? { shadow: true } : { share: trial }), ...version.trial }
}

function versionResponse(version: ListedVersion, active: TaskVersions['active']): Static<typeof versionSchema> {
  const { number, digest, bytes, created, by, source, problemType, metric, score, interval, examples } = version
  return {
    version: number,
    digest,
    bytes,
    created,
    by,
    source,
    ...(problemType && { problem_type: problemType }),
    ...(metric !== undefined && { metric }),
    ...(score !== undefined && { score }),
    ...(interval && { interval }),
    ...(examples !== undefined && { examples }),
    state: digest === active?.digest ? 'active' : digest === active?.candidate?.digest ? 'candidate' : 'kept',
  }
}

/** @throws Problem `invalid_request` */
function trialOf({ share, shadow }: Static<typeof activeRequest>): Trial | undefined {
  if (share !== undefined && shadow)
    throw new Problem('invalid_request', 'the body has share and shadow; a candidate can have one of them')
  return shadow ? 'shadow' : share
}

/** Params are text. @throws Problem `unknown_version` */
function numberOf(id: string, version: unknown): number {
  if (/^[1-9][0-9]{0,7}$/.test(String(version))) return Number(version)
  throw new Problem(
    'unknown_version',
    `task "${id}" has no version ${quoted(String(version))}; versions are numbers from 1`,
    {
      task: id,
    },
  )
}
