// The API's types, once: validation, TypeScript and OpenAPI are made from them.

import { type Static, type TArrayOptions, type TSchema, type TSchemaOptions, Type } from 'typebox'
import { numerics } from '../config.js'
import { combinings, poolings, problemTypes } from '../petl/task.js'
import { followingStates } from '../store/store.js'
import { taskIdPattern } from '../tasks/registry.js'

const words = (choices: readonly string[], options: TSchemaOptions = {}) => Type.Enum([...choices], options)

/** An array of an answer: what is sent may be read-only. */
export const list = <T extends TSchema>(item: T, options: TArrayOptions = {}) =>
  Type.Unsafe<readonly Static<T>[]>(Type.Array(item, options))

export const problemSchema = Type.Object(
  {
    type: Type.String(),
    title: Type.String(),
    status: Type.Integer(),
    code: Type.String({ description: 'Stable name of the kind of problem' }),
    detail: Type.String({ description: 'What was wrong, where, and what was expected' }),
    request_id: Type.Optional(Type.String()),
  },
  { description: 'RFC 9457 problem', additionalProperties: true },
)

export const noContent = (description: string, headers: object = {}) => Type.Null({ description, headers })

/** Headers of answers, for the description of a route. */
export const etagHeader = {
  etag: Type.String({ pattern: '^"[0-9a-f]{64}"$', description: 'SHA-256 of the task file' }),
}
export const locationHeader = { location: Type.String({ description: 'Path of what was made' }) }

/** Answers that are problems, for the description of a route. */
export const problemResponses = (...statuses: readonly number[]) =>
  Object.fromEntries(
    statuses.map((status) => [
      status,
      {
        description: problemMeanings[status] ?? 'Problem',
        ...(problemHeaders[status] && { headers: problemHeaders[status] }),
        content: { 'application/problem+json': { schema: problemSchema } },
      },
    ]),
  )

const retryAfter = {
  'retry-after': Type.Integer({ minimum: 0, description: 'Seconds after which trying again makes sense' }),
}
const problemHeaders: Record<number, object> = {
  401: { 'www-authenticate': Type.String({ description: 'What kind of key is expected' }) },
  429: retryAfter,
  503: retryAfter,
}

const problemMeanings: Record<number, string> = {
  400: 'The request does not have the expected form',
  401: 'The request has no key that this server knows',
  403: 'The key is not for this, or its tenant has used up what it may store',
  404: 'There is none of that name, of those that the key may see',
  409: 'It cannot be changed, or belongs to another prototype',
  412: 'The task is not at the expected version',
  413: 'The body is too large',
  415: 'The content type, its charset or the content encoding is not taken here',
  422: 'The content cannot be worked with',
  429: 'The tenant asks too fast, or too much is waiting to answer in time; Retry-After says when to try again',
  503:
    'The server starts or stops, or a change was not made; with the code `outcome_unknown` alone it may have been made. ' +
    'Retry-After says when to try again',
  504: 'The request waited too long, or takes longer than it may',
}

export const taskId = Type.String({ pattern: taskIdPattern, description: 'Task id', examples: ['sst2'] })
export const taskParams = Type.Object({ id: taskId })

/** Of a prediction request. */
export const timeoutHeaders = Type.Object({
  'x-request-timeout-ms': Type.Optional(
    // No integer: of one the validator would cut a fraction off.
    Type.String({
      pattern: '^[1-9][0-9]{0,8}$',
      examples: ['500'],
      description:
        'Milliseconds within which the answer is of use, if fewer than the server allows: what could not be answered by ' +
        'then is refused at once (429), or dropped (504)',
    }),
  ),
})

const textFields = {
  text: Type.String(),
  text_pair: Type.Optional(Type.String({ description: 'Second text, for tasks that compare two' })),
}

const options = {
  top_k: Type.Optional(
    Type.Integer({
      minimum: 1,
      description: 'Only the best so many labels, best first; all in their own order otherwise',
    }),
  ),
  raw_scores: Type.Optional(
    Type.Boolean({ default: false, description: "The head's own outputs in place of probabilities" }),
  ),
  threshold: Type.Optional(
    Type.Number({
      exclusiveMinimum: 0,
      exclusiveMaximum: 1,
      description:
        "Probability from which on a label of a multi-label task applies, in place of the task's own; " +
        'refused where no such task is asked',
    }),
  ),
  truncate: Type.Optional(
    Type.Boolean({
      default: true,
      description: 'Cut texts that are longer than the model takes; otherwise they are refused',
    }),
  ),
}

const textOrPair = Type.Union([Type.String(), Type.Object(textFields, { additionalProperties: false })])

export const predictBody = Type.Object(
  {
    inputs: Type.Union([textOrPair, Type.Array(textOrPair, { minItems: 1 })], {
      description: 'A text, a pair of texts, or an array of these',
    }),
    ...options,
  },
  { additionalProperties: false, examples: [{ inputs: ['a gorgeous film', 'two hours of nothing'], top_k: 1 }] },
)

export const predictManyBody = Type.Object(
  {
    inputs: Type.Array(Type.Object({ task: taskId, ...textFields }, { additionalProperties: false }), {
      minItems: 1,
      description: 'Texts, each with its task',
    }),
    ...options,
  },
  {
    additionalProperties: false,
    examples: [
      {
        inputs: [
          { task: 'sst2', text: 'a gorgeous film' },
          { task: 'mrpc', text: 'It rained.', text_pair: 'Rain fell.' },
        ],
      },
    ],
  },
)

const labelScore = { label: Type.String(), score: Type.Number() }
const classification = {
  ...labelScore,
  scores: list(Type.Object(labelScore), { description: "In the order of the task's labels, or best first with top_k" }),
}
const span = {
  text: Type.String(),
  start: Type.Integer({ description: 'UTF-16 offset into the text' }),
  end: Type.Integer({ description: 'UTF-16 offset into the text, exclusive' }),
}
const word = Type.Object({ ...classification, ...span })
const entity = Type.Object({
  label: Type.String({ description: 'Its type: X of B-X and I-X' }),
  score: Type.Number({ description: "Mean of its words' scores" }),
  ...span,
})

/** A prediction: which fields it has depends on the task's problem type. */
const prediction = {
  label: Type.Optional(Type.String({ description: 'Best label (classification)' })),
  score: Type.Optional(Type.Number({ description: 'Its score, or the value of a regression' })),
  scores: Type.Optional(classification.scores),
  labels: Type.Optional(
    list(Type.String(), {
      description: 'Multi-label classification: labels whose probability reaches the threshold, best first',
    }),
  ),
  words: Type.Optional(list(word, { description: 'Token classification: each word with its label' })),
  entities: Type.Optional(
    list(entity, { description: 'Token classification by B-, I- and O: words joined into entities' }),
  ),
  embedding: Type.Optional(list(Type.Number(), { description: 'Feature extraction: the pooled vector' })),
}

const version = Type.String({ description: 'SHA-256 of the task file that answered' })

export const predictAnswer = Type.Object({
  task: Type.String(),
  version,
  predictions: list(Type.Object(prediction)),
})
export const predictManyAnswer = Type.Object({
  predictions: list(Type.Object({ task: Type.String(), version, ...prediction })),
})

const origin = Type.Enum(['bundled', 'uploaded'], { description: 'A read-only file of the server, or an upload' })

export const taskAnswer = Type.Object({
  id: Type.String(),
  version,
  origin,
  problem_type: words(problemTypes),
  labels: list(Type.String()),
  combine: words(combinings),
  pooling: words(poolings),
  head: Type.Optional(
    Type.Object(
      {
        inputs: Type.Integer(),
        dense: Type.Optional(Type.Integer()),
        outputs: Type.Integer(),
        weights: Type.Integer(),
      },
      { description: 'Absent for feature extraction' },
    ),
  ),
  mask: Type.Object({
    rows: Type.Integer({ description: '1: the same mask in every layer' }),
    density: Type.Number({ description: "Share of ones in the task's own mask" }),
    effective_density: list(Type.Number(), { description: 'For each layer, combined with its layer mask' }),
    overlap_with_layer_masks: list(Type.Number(), {
      description: "For each layer: share of the task's ones that the layer mask has too",
    }),
  }),
  storage: Type.Object({
    mask_bits: Type.Integer(),
    plain_module_bits: Type.Integer({ description: 'A module of the same shape with own weights in every layer' }),
    ratio: Type.Number(),
  }),
  threshold: Type.Optional(Type.Number({ description: 'Multi-label: probability from which on a label applies' })),
  normalize: Type.Optional(Type.Boolean({ description: 'Feature extraction: vectors have an L2 norm of 1' })),
  description: Type.Optional(Type.String()),
  metrics: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
  range: Type.Optional(list(Type.Number())),
})

export const listQuery = Type.Object(
  {
    after: Type.Optional(
      Type.String({
        pattern: '^[a-z0-9._-]{0,64}$',
        description: "Only tasks behind this id: the previous page's `next`",
      }),
    ),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, default: 100 })),
  },
  { additionalProperties: false },
)
export const listAnswer = Type.Object({
  total: Type.Integer(),
  tasks: list(Type.Object({ id: Type.String(), version, origin })),
  next: Type.Union([Type.String(), Type.Null()], {
    description: 'Pass it as `after` for the next page; null on the last',
  }),
})

export const readyAnswer = Type.Object({
  status: Type.Literal('ready'),
  provider: Type.String({ description: 'Execution provider that runs' }),
  reason: Type.String({ description: 'Why this provider and these numerics' }),
  numerics: words(numerics, { description: 'What the model computes in' }),
  engines: Type.Object({
    configured: Type.Integer(),
    available: Type.Integer(),
    left_behind: Type.Integer({ description: 'Threads of engines that were given up and have not ended' }),
  }),
  model: Type.Object({
    type: Type.String(),
    layers: Type.Integer(),
    hidden_size: Type.Integer(),
    digest: Type.String(),
  }),
  prototype: Type.Object({ kind: Type.String(), digest: Type.String() }),
  tasks: Type.Integer(),
  memory: Type.Object(
    {
      limit_bytes: Type.Integer({ description: 'What the process may take' }),
      source: words(['setting', 'container', 'machine'], { description: 'Where the limit comes from' }),
      shares_bytes: Type.Object({
        cache: Type.Integer({ description: 'Tasks that were used lately' }),
        tasks: Type.Integer({ description: 'Tasks that requests use at this moment' }),
        bodies: Type.Integer({ description: 'Bodies of requests' }),
        texts: Type.Integer({ description: 'Texts while they are tokenised' }),
        answers: Type.Integer({ description: 'Answers that are being made or sent' }),
      }),
    },
    { description: 'How memory is divided; the rest is for the model, the engines and the heap' },
  ),
  database: Type.Optional(
    Type.Object(
      {
        connected: Type.Boolean({ description: 'Changes are taken and followed' }),
        state: words(followingStates, {
          description:
            'following; away: it cannot be reached or used; copying: a full copy is made or is to be; other_history: it ' +
            'lacks what this replica holds and is not followed; mirror_failed: this replica cannot write its copy',
        }),
        behind_seconds: Type.Number({ description: 'Since this replica last knew every change' }),
        unwritten_bytes: Type.Integer({
          description: 'What is kept in memory because the disk of the copy cannot be written',
        }),
      },
      { description: 'Of a replica that shares its tasks with others; without it predictions go on' },
    ),
  ),
})

/** A body of bytes. */
export const bytesBody: TSchema = Type.Unsafe<Buffer>({ contentMediaType: 'application/octet-stream' })

/** The frame of the OpenAPI document; the routes fill it. */
export const openapiDocument = {
  openapi: '3.1.0' as const,
  info: {
    title: 'propetl',
    version: '1',
    description:
      'One frozen transformer, one shared module, and a few kilobytes of mask bits per task. ' +
      'Errors are application/problem+json with a stable `code`.',
    license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
  },
  components: {
    securitySchemes: {
      key: {
        type: 'http' as const,
        scheme: 'bearer',
        description: 'A key of a tenant, or of the operator. A server without keys takes requests without one.',
      },
    },
  },
  security: [{ key: [] }],
  tags: [
    { name: 'predictions', description: 'Texts in, labels, values or vectors out' },
    { name: 'tasks', description: 'A task is a file: a mask over the shared module, and mostly a head' },
    { name: 'tenants', description: 'Whose tasks and keys are whose, and what each may take' },
    { name: 'operation', description: 'Health and metrics' },
  ],
}
