// The routes of examples: list, correct and delete them, and give feedback.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { Static } from 'typebox'
import { answerFactor } from '../../costs/memory.js'
import { type ExampleText, exampleIdPattern, type NewExample, type StoredExample } from '../../examples/example.js'
import { unknownExample } from '../../examples/example-store.js'
import { labelFor } from '../../examples/labels.js'
import { disagreementsOf } from '../../jobs/disagreements.js'
import type { Owner } from '../../owner.js'
import { Problem } from '../../problem.js'
import { exampleTextOf } from '../../suggestions/recent-texts.js'
import { taskOwnerOf } from '../../tenants/access.js'
import { actorOf } from '../../tenants/audit.js'
import { afterResponse, disconnectSignal } from '../after-response.js'
import { callerOf, recordChange, recordIfUnknown } from '../callers.js'
import { countsOf, exampleResponse } from '../example-responses.js'
import { sendLarge } from '../large-responses.js'
import { noContent, problemResponses, responseOf } from '../schemas/common.js'
import {
  exampleListQuery,
  exampleListSchema,
  exampleParams,
  examplePatch,
  exampleSchema,
  feedbackRequest,
} from '../schemas/examples.js'
import { ownTaskParams, taskParams } from '../schemas/tasks.js'
import type { Lifecycle } from '../services.js'

const tags = ['examples']
const exampleId = new RegExp(exampleIdPattern)

export const exampleRoutes =
  (lifecycle: Lifecycle): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get(
      '/tasks/:id/examples',
      {
        schema: {
          operationId: 'listExamples',
          tags,
          summary: 'Lists the examples of a task in the order of their ids, in pages',
          description: 'The ids are hashes of the texts: the first examples are a random sample of all.',
          params: taskParams,
          querystring: exampleListQuery,
          response: {
            200: responseOf(exampleListSchema, 'A page of examples'),
            ...problemResponses(400, 401, 404, 429, 503),
          },
        },
      },
      async (request, reply) => {
        const { costs, examples, registry, store } = lifecycle.services
        const { owner } = callerOf(request)
        const { id } = request.params
        const { after, limit = 100, label, search, disagrees } = request.query
        registry.checkVisible(owner, id)
        const disagreeing = disagrees === 'true' ? disagreementsOf(store, owner, id) : undefined
        const predictions = new Map(disagreeing?.map(({ id, ...predicted }) => [id, predicted]))
        const signal = disconnectSignal(reply)
        const ids = disagreeing?.map(({ id }) => id)
        const steps = examples.page(owner, id, { after, limit, label, search, ids })
        const page = await costs.work.run(owner, steps, signal)
        afterResponse(reply, costs.pools.answers.take(owner, answerFactor * page.bytes).release)
        const dataset = examples.dataset(owner, id)
        const response: Static<typeof exampleListSchema> = {
          total: dataset?.examples ?? 0,
          labels: countsOf(dataset),
          labels_complete: dataset?.truncated !== true,
          examples: page.examples.map((example) => {
            const predicted = predictions.get(example.id)
            return exampleResponse({ ...example, ...(predicted && { predicted }) })
          }),
          next: page.next,
        }
        return sendLarge(reply, costs.work, owner, response, signal)
      },
    )

    app.delete(
      '/tasks/:id/examples',
      {
        schema: {
          operationId: 'deleteExamples',
          tags,
          summary: 'Deletes all examples of a task; a task without a version ceases to exist',
          params: ownTaskParams,
          response: { 204: noContent('The examples were deleted'), ...problemResponses(400, 401, 404, 409, 429, 503) },
        },
      },
      async (request, reply) => {
        const { examples, registry } = lifecycle.services
        const caller = callerOf(request)
        const { id } = request.params
        registry.checkVisible(caller.owner, id)
        const change = { action: 'examples.delete', tenant: caller.owner, object: id } as const
        const dataset = await recordIfUnknown(request, examples.deleteAll(taskOwnerOf(caller), id), () => change)
        if (dataset) recordChange(request, { ...change, before: { examples: dataset.examples } })
        return reply.code(204).send(null)
      },
    )

    app.get(
      '/tasks/:id/examples/:example',
      {
        schema: {
          operationId: 'getExample',
          tags,
          summary: 'Returns one example',
          params: exampleParams,
          response: { 200: responseOf(exampleSchema, 'The example'), ...problemResponses(400, 401, 404, 429, 503) },
        },
      },
      async (request) => {
        const { owner } = callerOf(request)
        const { id, example } = request.params
        return exampleResponse(existing(owner, id, example))
      },
    )

    app.patch(
      '/tasks/:id/examples/:example',
      {
        schema: {
          operationId: 'patchExample',
          tags,
          summary: 'Corrects the label of an example',
          params: exampleParams,
          body: examplePatch,
          response: {
            200: responseOf(exampleSchema, 'The example was changed'),
            ...problemResponses(400, 401, 403, 404, 413, 415, 422, 429, 503),
          },
        },
      },
      async (request) => {
        const { examples } = lifecycle.services
        const caller = callerOf(request)
        const { id, example } = request.params
        const { label, tags, spans } = request.body
        existing(caller.owner, id, example)
        const change = { action: 'example.patch', tenant: caller.owner, object: id } as const
        const patching = examples.patch(taskOwnerOf(caller), id, example, (current) =>
          labelFor(current, { label, tags, spans }),
        )
        const patched = await recordIfUnknown(request, patching, () => ({ ...change, after: { example } }))
        recordChange(request, { ...change, after: { example } })
        return exampleResponse(patched)
      },
    )

    app.delete(
      '/tasks/:id/examples/:example',
      {
        schema: {
          operationId: 'deleteExample',
          tags,
          summary: 'Deletes one example',
          params: exampleParams,
          response: { 204: noContent('The example was deleted'), ...problemResponses(400, 401, 404, 429, 503) },
        },
      },
      async (request, reply) => {
        const { examples } = lifecycle.services
        const caller = callerOf(request)
        const { id, example } = request.params
        existing(caller.owner, id, example)
        const change = { action: 'examples.delete', tenant: caller.owner, object: id, before: { example } } as const
        await recordIfUnknown(request, examples.delete(taskOwnerOf(caller), id, example), () => change)
        recordChange(request, change)
        return reply.code(204).send(null)
      },
    )

    app.post(
      '/tasks/:id/feedback',
      {
        schema: {
          operationId: 'postFeedback',
          tags,
          summary: 'Stores what the right label of a text is, as an example of the task',
          description:
            'The text is in the request, or in the texts that the server has kept: then `request_id` names its prediction.',
          params: ownTaskParams,
          body: feedbackRequest,
          response: {
            200: responseOf(exampleSchema, 'The example'),
            ...problemResponses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
          },
        },
      },
      async (request) => {
        const { examples, registry } = lifecycle.services
        const caller = callerOf(request)
        const { id } = request.params
        const { label, tags, spans, predicted } = request.body
        registry.checkWritable(caller.owner, id)
        registry.checkVisible(caller.owner, id)
        const { predicted: known, ...text } = await textOf(caller.owner, id, request.body)
        const given = predicted ?? known
        const example: NewExample = {
          ...text,
          ...labelFor(text, { label, tags, spans }),
          source: 'feedback',
          by: actorOf(caller),
          ...(given && { predicted: given }),
        }
        const change = { action: 'examples.put', tenant: caller.owner, object: id } as const
        const storing = examples.putOne(taskOwnerOf(caller), id, example)
        const { stored, counts } = await recordIfUnknown(request, storing, () => ({
          ...change,
          after: { examples: 1 },
        }))
        recordChange(request, { ...change, after: { ...counts } })
        return exampleResponse(stored)
      },
    )

    /** What feedback is about. */
    async function textOf(
      owner: Owner,
      task: string,
      { text, text_pair: textPair, tokens, spans, request_id: requestId, index = 0 }: Static<typeof feedbackRequest>,
    ): Promise<ExampleText & Pick<NewExample, 'predicted'>> {
      if ([text, tokens, requestId].filter((each) => each !== undefined).length !== 1)
        throw new Problem('invalid_request', 'give exactly one of text, tokens and request_id')
      if (requestId !== undefined) {
        if (textPair !== undefined) throw new Problem('invalid_request', 'a request_id cannot have a second text')
        const { costs, suggestions } = lifecycle.services
        const kept = await costs.work.run(owner, suggestions.find(owner, task, requestId, index))
        const { label, score, version } = kept
        // Labelled parts are parts of the text.
        return { ...(spans ? { text: kept.text } : exampleTextOf(kept)), predicted: { label, score, version } }
      }
      const blank = [text ?? 'x', textPair ?? 'x', ...(tokens ?? [])].find((each) => each.trim() === '')
      if (blank !== undefined) throw new Problem('empty_text', 'a text is empty or has only white space')
      if (tokens) {
        if (textPair !== undefined) throw new Problem('invalid_request', 'words cannot have a second text')
        return { tokens: tokens.map((word) => word.trim()) }
      }
      return { ...(text !== undefined && { text }), ...(textPair !== undefined && { textPair }) }
    }

    /** @throws Problem `unknown_example`, `unknown_task` */
    function existing(owner: Owner, id: string, example: string): StoredExample {
      lifecycle.services.registry.checkVisible(owner, id)
      const found = exampleId.test(example) ? lifecycle.services.examples.get(owner, id, example) : undefined
      if (found === undefined) throw unknownExample(id, example)
      return found
    }
  }
