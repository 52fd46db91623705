// Schemas of the versions of tasks.

import { Type } from 'typebox'
import { problemTypes } from '../../petl/task.js'
import { list, nextPage, oneOf, orNull, pageQuery } from './common.js'
import { component } from './component.js'
import { ownTaskParams } from './tasks.js'

const number = Type.Integer({ minimum: 1, description: 'Number of the version, from 1', examples: [1] })

export const versionParams = Type.Object({ ...ownTaskParams.properties, version: number })

export const versionListQuery = pageQuery('^[1-9][0-9]{0,7}$')

const share = Type.Number({
  exclusiveMinimum: 0,
  exclusiveMaximum: 1,
  description:
    'Share of the requests that get the candidate. The first text of a request for the task decides: the same text always ' +
    'gets the same version.',
})
const shadow = Type.Boolean({
  description:
    'true: the candidate predicts texts of requests in the background, nobody sees its predictions, and the server counts ' +
    'those that differ. Under load the server leaves texts out.',
})

export const activeRequest = component(
  'ActiveVersion',
  Type.Object(
    { version: number, share: Type.Optional(share), shadow: Type.Optional(shadow) },
    {
      additionalProperties: false,
      description:
        'Without `share` and `shadow`, the version becomes the active one. With one of them, it becomes the candidate. ' +
        'The active version without both ends the trial of the candidate.',
      examples: [{ version: 1 }],
    },
  ),
)

const source = Type.Object(
  {
    kind: Type.Enum(['upload', 'job', 'bundled'], {
      description: 'upload: over this API; job: trained by this server; bundled: a read-only file of the server',
    }),
    job: Type.Optional(Type.String({ description: 'Id of the job' })),
    stage: Type.Optional(
      Type.Enum(['head', 'final'], { description: 'head: the head alone, made first; final: the result of the job' }),
    ),
  },
  { description: 'Where the version comes from' },
)

export const versionSchema = component(
  'Version',
  Type.Object({
    version: number,
    digest: Type.String({ description: 'SHA-256 of the task file; predictions of the version have it as `version`' }),
    bytes: Type.Integer({ description: 'Size of the task file' }),
    created: orNull(Type.String(), 'When it was stored, in ISO 8601. Null if it is not known.'),
    by: orNull(Type.String(), 'Who stored it: the owner and the id of an API key. Null if it is not known.'),
    source,
    problem_type: Type.Optional(oneOf(problemTypes)),
    metric: Type.Optional(Type.String({ description: 'What `score` is, such as accuracy' })),
    score: Type.Optional(Type.Number({ description: 'Score of held-out examples in training' })),
    interval: Type.Optional(list(Type.Number(), { description: 'Least and greatest value of the 95 % interval' })),
    examples: Type.Optional(Type.Integer({ description: 'Number of examples that it was trained on' })),
    state: Type.Enum(['active', 'candidate', 'kept'], {
      description: 'active: predictions use it; candidate: on trial; kept: it can be activated',
    }),
  }),
)

const candidate = component(
  'Candidate',
  Type.Object({
    version: number,
    share: Type.Optional(share),
    shadow: Type.Optional(shadow),
    since: Type.String({ description: 'When its trial began, in ISO 8601' }),
    compared: Type.Integer({ description: 'Texts that it predicted in the background' }),
    differ: Type.Integer({ description: 'Texts for which its prediction differed from that of the active version' }),
  }),
)

export const versionListSchema = component(
  'VersionList',
  Type.Object({
    active: orNull(Type.Integer(), 'Number of the active version; null if no version is active'),
    candidate: orNull(candidate, 'The version on trial; null if there is none'),
    versions: list(versionSchema, { description: 'Newest first' }),
    next: nextPage,
  }),
)

export const reportSchema = component(
  'TrainingReport',
  Type.Object(
    {},
    { additionalProperties: true, description: 'What the job that trained the version reports: data, scores, losses' },
  ),
)
