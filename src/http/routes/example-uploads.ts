// The route that posts files of examples.

import type { IncomingMessage } from 'node:http'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Static } from 'typebox'
import { Gate } from '../../costs/gate.js'
import { ExampleFile } from '../../examples/example-file.js'
import type { FileColumns } from '../../examples/file-reading.js'
import { type Posted, postFile } from '../../examples/posting.js'
import type { ReceivedFile } from '../../examples/upload-folder.js'
import type { Owner } from '../../owner.js'
import { Problem } from '../../problem.js'
import { taskOwnerOf } from '../../tenants/access.js'
import { actorOf } from '../../tenants/audit.js'
import { ownerOf } from '../../tenants/tenant.js'
import { disconnectSignal } from '../after-response.js'
import { callerOf, recordChange, recordIfUnknown } from '../callers.js'
import { exampleTypes, formatOf, receiveFile } from '../example-files.js'
import { reportResponse } from '../example-responses.js'
import { problemResponses, responseOf } from '../schemas/common.js'
import { examplesFile, newExamples, postExamplesQuery, postedSchema } from '../schemas/examples.js'
import { ownTaskParams } from '../schemas/tasks.js'
import type { Lifecycle } from '../services.js'
import { validatorCompiler } from '../validation.js'

export interface ExampleLimits {
  readonly maxExamplesBytes: number
}

/** Files that are read at the same time. Small ones do not wait for large ones. */
const filesAtOnce = { small: 4, large: 2 } as const
const smallFileBytes = 1 << 20

/** The route whose bodies are files. */
export const exampleUploadRoute =
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
          tags: ['examples'],
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
        const posting = post(request, reply, file, isDryRun)
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
      isDryRun: boolean,
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
          return await postFile(examples, by, request.params.id, file, isDryRun)
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
