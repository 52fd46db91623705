// The routes of examples: post files of them, list, correct and delete them, and give feedback.

import type { IncomingMessage } from 'node:http'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Static } from 'typebox'
import { Gate } from '../../costs/gate.js'
import { answerFactor } from '../../costs/memory.js'
import { type ExampleText, exampleIdPattern, type NewExample, type StoredExample } from '../../examples/example.js'
import { ExampleFile } from '../../examples/example-file.js'
import { type Dataset, unknownExample } from '../../examples/example-store.js'
import type { FileColumns, FileReport } from '../../examples/file-reading.js'
import { labelFor } from '../../examples/labels.js'
import { type Posted, postFile } from '../../examples/posting.js'
import type { ReceivedFile } from '../../examples/upload-folder.js'
import { disagreementsOf } from '../../jobs/disagreements.js'
import type { Owner } from '../../owner.js'
import { Problem } from '../../problem.js'
import { exampleTextOf } from '../../suggestions/recent-texts.js'
import { taskOwnerOf } from '../../tenants/access.js'
import { actorOf } from '../../tenants/audit.js'
import { ownerOf } from '../../tenants/tenant.js'
import { afterResponse, disconnectSignal } from '../after-response.js'
import { callerOf, recordChange, recordIfUnknown } from '../callers.js'
import { exampleTypes, formatOf, receiveFile } from '../example-files.js'
import { sendLarge } from '../large-responses.js'
import { noContent, problemResponses, responseOf } from '../schemas/common.js'
import {
  exampleListQuery,
  exampleListSchema,
  exampleParams,
  examplePatch,
  exampleSchema,
  examplesFile,
  feedbackRequest,
  newExamples,
  postExamplesQuery,
  postedSchema,
} from '../schemas/examples.js'
import { ownTaskParams, taskParams } from '../schemas/tasks.js'
import type { Lifecycle } from '../services.js'
import { validatorCompiler } from '../validation.js'

export interface ExampleLimits {
  readonly maxExamplesBytes: number
}

/** Files that are read at the same time. Small ones do not wait for large ones. */
const filesAtOnce = { small: 4, large: 2 } as const
const smallFileBytes = 1 << 20

const tags = ['examples']
const exampleId = new RegExp(exampleIdPattern)

export const exampleRoutes =
  (lifecycle: Lifecycle, limits: ExampleLimits): FastifyPluginAsyncTypebox =>
  async (app) => {
    await app.register(postRoute(lifecycle, limits))

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

/** The route whose bodies are files. */
const postRoute =
  (lifecycle: Lifecycle, { maxExamplesBytes }: ExampleLimits): FastifyPluginAsyncTypebox =>
  async (app) => {
    const gates = { small: new Gate(filesAtOnce.small), large: new Gate(filesAtOnce.large) }
    const files = new WeakMap<FastifyRequest, ReceivedFile>()
    app.removeAllContentTypeParsers()
    app.addContentTypeParser('*', async (request: FastifyRequest, body: IncomingMessage) => {
      const file = await receiveFile(request, body, callerOf(request).owner, lifecycle.services.uploads)
      files.set(request, file)
      return file
    })
    const removeFile = async (request: FastifyRequest) => files.get(request)?.remove()
    app.addHook('onResponse', removeFile)
    app.addHook('onRequestAbort', removeFile)

    app.post(
      '/tasks/:id/examples',
      {
        bodyLimit: maxExamplesBytes,
        config: { isStreamed: true },
        onRequest: async (request) => {
          formatOf(request)
          lifecycle.services.registry.checkWritable(callerOf(request).owner, (request.params as { id: string }).id)
        },
        // The readers of data files check the body.
        validatorCompiler: (route) =>
          route.httpPart === 'body' ? (value: unknown) => ({ value }) : validatorCompiler(route),
        schema: {
          operationId: 'postExamples',
          tags,
          summary: 'Adds examples to a task, or replaces the labels of texts that are there already',
          description:
            'The body is a file that `propetl learn` can read. Its format follows from the content type or, if there is one, ' +
            'from the file name in the header Content-Disposition. The whole file is checked before anything is stored. ' +
            'A post that was interrupted can be repeated: that has the same result as one post. The task needs no version yet.',
          consumes: [...exampleTypes],
          params: ownTaskParams,
          querystring: postExamplesQuery,
          body: {
            content: Object.fromEntries(
              exampleTypes.map((type) => [type, { schema: type === 'application/json' ? newExamples : examplesFile }]),
            ),
          },
          response: {
            200: responseOf(postedSchema, 'What was stored, and what was found in the file'),
            ...problemResponses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
          },
        },
      },
      async (request, reply) => {
        const caller = callerOf(request)
        const { id } = request.params
        const file = files.get(request)
        if (file === undefined) throw new Problem('invalid_data', 'the body is empty; expected a file of examples')
        const isDryRun = request.query.dry_run === 'true'
        const change = { action: 'examples.put', tenant: caller.owner, object: id } as const
        const posting = post(request, reply, file)
        if (isDryRun) return postedResponse(await posting, caller.owner, id, true)
        const posted = await recordIfUnknown(request, posting, () => ({ ...change, after: { bytes: file.bytes } }))
        const { added, replaced, unchanged } = posted
        recordChange(request, { ...change, after: { added, replaced, unchanged } })
        return postedResponse(posted, caller.owner, id, false)
      },
    )

    async function post(
      request: FastifyRequest<{ Querystring: Static<typeof postExamplesQuery>; Params: Static<typeof ownTaskParams> }>,
      reply: FastifyReply,
      { path, bytes, remove }: ReceivedFile,
    ): Promise<Posted> {
      const { examples, readingThreads } = lifecycle.services
      const caller = callerOf(request)
      const by = taskOwnerOf(caller)
      const signal = disconnectSignal(reply)
      const { name } = formatOf(request)
      const toRead = { path, name, columns: columnsOf(request.query), by: actorOf(caller) }
      const read = async () => {
        const file = new ExampleFile(toRead, readingThreads, signal)
        try {
          return await postFile(examples, by, request.params.id, file, request.query.dry_run === 'true')
        } finally {
          file.close()
        }
      }
      try {
        return await gates[bytes <= smallFileBytes ? 'small' : 'large'].pass(ownerOf(by), 1, read, signal)
      } finally {
        await remove()
      }
    }

    function postedResponse(
      { report, added, replaced, unchanged }: Posted,
      owner: Owner,
      id: string,
      isDryRun: boolean,
    ): Static<typeof postedSchema> {
      return {
        added,
        replaced,
        unchanged,
        skipped: report.skipped.map(({ reason, count, firstPlace }) => ({ reason, count, first_place: firstPlace })),
        total: lifecycle.services.examples.dataset(owner, id)?.examples ?? 0,
        report: reportResponse(report, isDryRun),
        dry_run: isDryRun,
      }
    }
  }

function columnsOf(query: Static<typeof postExamplesQuery>): FileColumns {
  const list = (names: string | undefined) => names?.split(',').map((name) => name.trim())
  return {
    textColumn: query.text_column,
    pairColumn: query.pair_column,
    labelColumn: query.label_column,
    labelColumns: list(query.label_columns),
    labelNames: list(query.label_names),
    labelSeparator: query.label_separator,
    problemType: query.problem_type as FileColumns['problemType'],
  }
}

function reportResponse(report: FileReport, hasSample: boolean): Static<typeof postedSchema>['report'] {
  const { format, columns, names, rows, problemType = null, labels, labelCount, warnings, sample } = report
  return {
    format,
    columns: {
      text: columns.text,
      ...(columns.textPair !== undefined && { pair: columns.textPair }),
      ...(columns.label !== undefined && { label: columns.label }),
      ...(columns.labels && { labels: columns.labels }),
    },
    names,
    rows,
    problem_type: problemType,
    labels,
    label_count: labelCount,
    warnings,
    ...(hasSample && { sample: sample.map(labelledResponse) }),
  }
}

function labelledResponse({ text, textPair, tokens, label, spans }: FileReport['sample'][number]) {
  return {
    ...(text !== undefined && { text }),
    ...(textPair !== undefined && { text_pair: textPair }),
    ...(tokens
      ? { tokens, tags: typeof label === 'object' ? [...label] : [String(label)] }
      : spans
        ? { spans: [...spans] }
        : { label: typeof label === 'object' ? [...label] : label }),
  }
}

function exampleResponse(example: StoredExample): Static<typeof exampleSchema> {
  const { id, created, updated, by, source, predicted } = example
  return {
    id,
    ...labelledResponse(example),
    created: new Date(created).toISOString(),
    updated: new Date(updated).toISOString(),
    ...(by !== undefined && { by }),
    source,
    ...(predicted && {
      predicted: {
        ...predicted,
        label: typeof predicted.label === 'object' ? [...predicted.label] : predicted.label,
      },
    }),
  }
}

const countsOf = (dataset: Dataset | undefined) =>
  Object.entries(dataset?.labels ?? {})
    .map(([label, count]) => ({ label, count }))
    .sort((a, b) => b.count - a.count)
