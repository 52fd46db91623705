// The routes of a task's settings, and of texts that are worth labelling.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { Static } from 'typebox'
import { answerFactor } from '../../costs/memory.js'
import type { Owner } from '../../owner.js'
import { Problem } from '../../problem.js'
import { exampleTextOf, type KeptText } from '../../suggestions/recent-texts.js'
import type { Suggestion } from '../../suggestions/suggestions.js'
import { typesThatDecide } from '../../tasks/problems.js'
import type { Registry } from '../../tasks/registry.js'
import type { TextKeeping } from '../../tasks/text-keeping.js'
import { taskOwnerOf } from '../../tenants/access.js'
import { afterResponse } from '../after-response.js'
import { callerOf, recordChange, recordIfUnknown } from '../callers.js'
import { sendLarge } from '../large-responses.js'
import { problemResponses, responseOf } from '../schemas/common.js'
import { suggestionsQuery, suggestionsSchema, taskSettingsRequest, taskSettingsSchema } from '../schemas/suggestions.js'
import { ownTaskParams } from '../schemas/tasks.js'
import type { Lifecycle } from '../services.js'

/** Most bytes of JSON of a suggestion, roughly: the text, and its words and labels. */
const mostBytesOfSuggestion = 48 * 1024

export const suggestionRoutes =
  (lifecycle: Lifecycle): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get(
      '/tasks/:id/settings',
      {
        schema: {
          operationId: 'taskSettings',
          tags: ['suggestions'],
          summary: 'Whether texts of requests with the task are kept, and how many are',
          params: ownTaskParams,
          response: {
            200: responseOf(taskSettingsSchema, 'The settings'),
            ...problemResponses(400, 401, 404, 429, 503),
          },
        },
      },
      async (request) => {
        const { registry, suggestions } = lifecycle.services
        const { owner } = callerOf(request)
        const { id } = request.params
        registry.checkVisible(owner, id)
        return settingsResponse(suggestions.keeping(owner, id))
      },
    )

    app.put(
      '/tasks/:id/settings',
      {
        schema: {
          operationId: 'putTaskSettings',
          tags: ['suggestions'],
          summary: 'Switches on or off that texts of requests with the task are kept',
          description:
            'It is off for every task until its owner switches it on. Only the least sure texts of recent requests are kept: at ' +
            'most 2,000 for each task, of at most 8,192 bytes each. Switching it off deletes them.',
          params: ownTaskParams,
          body: taskSettingsRequest,
          response: {
            200: responseOf(taskSettingsSchema, 'The new settings'),
            ...problemResponses(400, 401, 404, 409, 413, 415, 422, 429, 503),
          },
        },
      },
      async (request) => {
        const { registry, suggestions } = lifecycle.services
        const caller = callerOf(request)
        const { owner } = caller
        const { id } = request.params
        const days = request.body.keep_texts?.days ?? null
        registry.checkWritable(owner, id)
        registry.checkVisible(owner, id)
        if (days !== null) await checkDecides(registry, owner, id)
        const change = { action: 'task.settings', tenant: owner, object: id } as const
        const keeping = suggestions.keep(taskOwnerOf(caller), id, days, (records) =>
          registry.checkVisible(owner, id, records),
        )
        const { before, after } = await recordIfUnknown(request, keeping, () => ({
          ...change,
          after: { keep_texts: days === null ? null : { days } },
        }))
        recordChange(request, { ...change, before: settingsOf(before), after: settingsOf(after) })
        return settingsResponse(after)
      },
    )

    app.get(
      '/tasks/:id/suggestions',
      {
        schema: {
          operationId: 'suggestTexts',
          tags: ['suggestions'],
          summary: 'Lists texts of recent requests that are worth labelling, the least sure first',
          description:
            'Only if the owner of the task has switched that on: PUT /tasks/{id}/settings. Texts that are examples of the task ' +
            'already are left out. Of several texts that differ only in case, punctuation or spaces, one is listed.',
          params: ownTaskParams,
          querystring: suggestionsQuery,
          response: {
            200: responseOf(suggestionsSchema, 'The texts'),
            ...problemResponses(400, 401, 404, 409, 429, 503),
          },
        },
      },
      async (request, reply) => {
        const { costs, examples, registry, suggestions } = lifecycle.services
        const { owner } = callerOf(request)
        const { id } = request.params
        const { limit = 20 } = request.query
        registry.checkVisible(owner, id)
        const isKnown = examples.knownTexts(owner, id)
        // Words are labelled one by one, or as parts of the text.
        const isExample = (kept: KeptText) =>
          isKnown(exampleTextOf(kept)) || (kept.tokens !== undefined && isKnown({ text: kept.text }))
        const most = Math.min(mostBytesOfSuggestion * limit, suggestions.keeping(owner, id)?.bytes ?? 0)
        afterResponse(reply, costs.pools.answers.take(owner, answerFactor * most).release)
        const texts = await costs.work.run(owner, suggestions.suggest(owner, id, limit, isExample))
        return sendLarge(reply, costs.work, owner, { texts: texts.map(suggestionResponse) })
      },
    )
  }

/** @throws Problem `suggestions_unsupported`; those of a task of another model */
async function checkDecides(registry: Registry, owner: Owner, id: string): Promise<void> {
  if (registry.store.digest(owner, id) === undefined) return
  const { task, release } = await registry.use(owner, id)
  release()
  const { problemType } = task.file
  if (typesThatDecide.includes(problemType)) return
  throw new Problem(
    'suggestions_unsupported',
    `task "${id}" is a ${problemType}, which does not say how sure a prediction is; texts are kept only of tasks of the types ` +
      typesThatDecide.join(', '),
    { task: id, problem_type: problemType },
  )
}

const settingsOf = (keeping: TextKeeping | undefined) => ({
  keep_texts: keeping === undefined ? null : { days: keeping.days },
})

const settingsResponse = (keeping: TextKeeping | undefined): Static<typeof taskSettingsSchema> => ({
  ...settingsOf(keeping),
  kept: { texts: keeping?.texts ?? 0, bytes: keeping?.bytes ?? 0 },
})

const suggestionResponse = ({ text, textPair, tokens, label, score, version, requestId, index, seen }: Suggestion) => ({
  text,
  ...(textPair !== undefined && { text_pair: textPair }),
  ...(tokens && { tokens }),
  predicted: { label, score, version },
  request_id: requestId,
  index,
  seen,
})
