// The routes of jobs: let a task learn from its examples, follow that, and cancel it.

import { Readable } from 'node:stream'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { Static } from 'typebox'
import { EventStreams } from '../../jobs/event-streams.js'
import { type Job, type JobDetails, type JobOptions, noDetails } from '../../jobs/job.js'
import { Problem } from '../../problem.js'
import { flagOf } from '../../settings.js'
import { type Access, taskOwnerOf } from '../../tenants/access.js'
import { actorOf } from '../../tenants/audit.js'
import { afterResponse } from '../after-response.js'
import { hasBody } from '../bodies.js'
import { callerOf, recordChange, recordIfUnknown } from '../callers.js'
import { jobEventsOf } from '../job-events.js'
import { pageOf } from '../page.js'
import { locationHeader, noContent, problemResponses, responseOf } from '../schemas/common.js'
import {
  jobEvents,
  jobListQuery,
  jobListSchema,
  jobParams,
  jobSchema,
  type jobSummary,
  learnRequest,
} from '../schemas/jobs.js'
import { ownTaskParams } from '../schemas/tasks.js'
import type { Lifecycle } from '../services.js'

export const jobRoutes =
  (lifecycle: Lifecycle, access: Access): FastifyPluginAsyncTypebox =>
  async (app) => {
    const streams = new EventStreams()
    const tags = ['jobs']

    app.post(
      '/tasks/:id/learn',
      {
        // The body may be missing.
        preValidation: async (request) => {
          if (!hasBody(request)) request.body = {}
        },
        schema: {
          operationId: 'learnTask',
          tags,
          summary: 'Makes a job that trains the task from its examples',
          description:
            'The job learns from all examples that are stored when it starts. It makes a version with a new head alone ' +
            'within seconds, and then one with a mask, if that is better. While a job of the task runs, one further job can ' +
            'wait. GET /jobs/{id}/events shows how it goes.',
          params: ownTaskParams,
          body: learnRequest,
          response: {
            202: responseOf(jobSchema, 'The job waits or runs', locationHeader),
            ...problemResponses(400, 401, 404, 409, 413, 415, 429, 503),
          },
        },
      },
      async (request, reply) => {
        const { registry, learning, store } = lifecycle.services
        const caller = callerOf(request)
        const owner = taskOwnerOf(caller)
        const { id } = request.params
        // Another replica may run jobs.
        if (learning.runner.options.atOnce === 0 && store.following === undefined) throw learningDisabled()
        registry.checkLearnable(caller.owner, id)
        const options = optionsOf(request.body)
        const change = { action: 'job.create', tenant: caller.owner } as const
        const making = learning.jobs.create(owner, id, options, actorOf(caller))
        const job = await recordIfUnknown(request, making, () => ({ ...change, object: id }))
        learning.runner.wake()
        recordChange(request, { ...change, object: job.id, after: { task: id, ...options } })
        return reply.code(202).header('location', `/jobs/${job.id}`).send(jobResponse(job, noDetails))
      },
    )

    app.get(
      '/jobs',
      {
        schema: {
          operationId: 'listJobs',
          tags,
          summary: 'Lists the jobs, newest first, in pages',
          description: 'The newest 100 jobs that have ended are kept.',
          querystring: jobListQuery,
          response: { 200: responseOf(jobListSchema, 'A page of jobs'), ...problemResponses(400, 401, 403, 429, 503) },
        },
      },
      async (request) => {
        const { learning } = lifecycle.services
        const owner = taskOwnerOf(callerOf(request))
        const { after = '', limit = 100, task, state } = request.query
        const found = learning.jobs.list(owner, after, limit + 1, { task, state })
        const { page, next } = pageOf(limit, found)
        return { jobs: page.map((job) => summaryOf(learning.current(job).job)), next }
      },
    )

    app.get(
      '/jobs/:id',
      {
        schema: {
          operationId: 'describeJob',
          tags,
          summary: 'Describes a job: its state, progress, scores, and the version that it made',
          params: jobParams,
          response: { 200: responseOf(jobSchema, 'The job'), ...problemResponses(401, 403, 404, 429, 503) },
        },
      },
      async (request) => {
        const { learning } = lifecycle.services
        const stored = learning.jobs.get(taskOwnerOf(callerOf(request)), request.params.id)
        const { job, details } = learning.current(stored)
        return jobResponse(job, details())
      },
    )

    app.get(
      '/jobs/:id/events',
      {
        // A HEAD request would hold a stream.
        exposeHeadRoute: false,
        schema: {
          operationId: 'followJob',
          tags,
          summary: 'Streams what happens to a job, as server-sent events, until it has ended',
          params: jobParams,
          response: {
            200: { description: 'The events', content: { 'text/event-stream': { schema: jobEvents } } },
            ...problemResponses(401, 403, 404, 429, 503),
          },
        },
      },
      async (request, reply) => {
        const { learning } = lifecycle.services
        const caller = callerOf(request)
        const owner = taskOwnerOf(caller)
        const { id } = request.params
        learning.jobs.get(owner, id)
        const release = streams.take(caller.owner)
        const closed = new AbortController()
        afterResponse(reply, () => {
          closed.abort()
          release()
        })
        const events = jobEventsOf({
          read: () => {
            const stored = lifecycle.stopping ? undefined : learning.jobs.find(owner, id)
            return stored && learning.current(stored)
          },
          // An API key may be revoked while its stream is open.
          mayGoOn: () => isStill(access, caller.owner, request.headers.authorization),
          write: summaryOf,
          signal: closed.signal,
        })
        reply.header('cache-control', 'no-store').header('x-accel-buffering', 'no').type('text/event-stream')
        // The cast is needed because Fastify's types know no stream in place of the value.
        return reply.send(Readable.from(events, { objectMode: false, highWaterMark: 1 }) as never)
      },
    )

    app.delete(
      '/jobs/:id',
      {
        schema: {
          operationId: 'cancelJob',
          tags,
          summary: 'Cancels a job that waits or runs',
          description: 'A version with a new head alone that the job has made already is kept.',
          params: jobParams,
          response: {
            204: noContent('The job was cancelled'),
            ...problemResponses(401, 403, 404, 409, 429, 503),
          },
        },
      },
      async (request, reply) => {
        const { learning } = lifecycle.services
        const caller = callerOf(request)
        const { id } = request.params
        const change = { action: 'job.cancel', tenant: caller.owner, object: id } as const
        const cancelling = learning.runner.cancel(taskOwnerOf(caller), id)
        const { state, task } = await recordIfUnknown(request, cancelling, () => change)
        recordChange(request, { ...change, before: { task, state } })
        return reply.code(204).send(null)
      },
    )
  }

const learningDisabled = (): Problem =>
  new Problem('learning_disabled', `this server does not train tasks, because ${flagOf('learningJobs')} is 0`)

function optionsOf(body: Static<typeof learnRequest>): JobOptions {
  const { activate = 'if_better', problem_type, metric, time_budget_s, max_examples, seed } = body
  return {
    activate,
    ...(problem_type !== undefined && { problemType: problem_type }),
    ...(metric !== undefined && { metric }),
    ...(time_budget_s !== undefined && { timeBudgetS: time_budget_s }),
    ...(max_examples !== undefined && { maxExamples: max_examples }),
    ...(seed !== undefined && { seed }),
  }
}

function isStill(access: Access, owner: string, authorization: string | undefined): boolean {
  try {
    return access.identify(authorization).owner === owner
  } catch {
    return false
  }
}

function summaryOf(job: Job): Static<typeof jobSummary> {
  const { id, task, state, phase, progress = 0, secondsLeft, created, started, finished, by, attempt } = job
  const { options, examples, subsampledOf, head, outcome, error } = job
  return {
    id,
    task,
    state,
    ...(phase !== undefined && { phase }),
    progress,
    ...(secondsLeft !== undefined && { seconds_left: secondsLeft }),
    created,
    ...(started !== undefined && { started }),
    ...(finished !== undefined && { finished }),
    by,
    attempt,
    activate: options.activate,
    ...(examples !== undefined && { examples }),
    ...(subsampledOf !== undefined && { subsampled_of: subsampledOf }),
    ...(head && { head: { version: head.version, score: head.score } }),
    ...outcome,
    ...(error && { error }),
  }
}

function jobResponse(job: Job, { scores, curve, epochs, warnings }: JobDetails): Static<typeof jobSchema> {
  return {
    ...summaryOf(job),
    scores,
    curve,
    warnings,
    epochs: epochs.map(({ epoch, heldOutLoss }) => ({ epoch, held_out_loss: heldOutLoss })),
  }
}
