// Schemas of health reports.

import { Type } from 'typebox'
import { settings } from '../../settings.js'
import { followingStates } from '../../store/store.js'
import { oneOf } from './common.js'
import { component } from './component.js'

const numerics = settings.numerics.kind.choices.filter((name) => name !== 'auto')

export const liveReport = component('LiveReport', Type.Object({ status: Type.Literal('live') }))

export const healthReport = component(
  'HealthReport',
  Type.Object({
    status: Type.Literal('ready'),
    provider: Type.String({ description: 'Execution provider in use' }),
    reason: Type.String({ description: 'Why this provider and these numerics were chosen' }),
    numerics: oneOf(numerics, { description: 'Number format of the computation' }),
    engines: Type.Object({
      configured: Type.Integer({ description: 'Engines that should run' }),
      available: Type.Integer({ description: 'Engines that run' }),
      left_behind: Type.Integer({
        description: 'Abandoned threads: hung engine threads that were replaced and have not ended',
      }),
    }),
    model: Type.Object(
      {
        type: Type.String({ description: 'model_type of the backbone' }),
        layers: Type.Integer(),
        hidden_size: Type.Integer(),
        digest: Type.String({ description: 'SHA-256 of the weights' }),
      },
      { description: 'The backbone' },
    ),
    prototype: Type.Optional(
      Type.Object(
        {
          kind: Type.String({ description: 'adapter, lora or prefix' }),
          digest: Type.String({ description: 'SHA-256 that task files name' }),
        },
        { description: 'Absent if the model has no prototype; then it serves only tasks without a mask' },
      ),
    ),
    advice: Type.Optional(Type.String({ description: 'How to make a prototype; only if the model has none' })),
    tasks: Type.Integer({ description: 'Tasks of the operator, with the bundled ones' }),
    memory: Type.Object(
      {
        limit_bytes: Type.Integer({ description: 'Memory that the server may use' }),
        source: oneOf(['setting', 'container', 'machine'], { description: 'Where the limit comes from' }),
        shares_bytes: Type.Object({
          cache: Type.Integer({ description: 'Recently used tasks' }),
          tasks: Type.Integer({ description: 'Tasks that requests are using' }),
          bodies: Type.Integer({ description: 'Request bodies' }),
          texts: Type.Integer({ description: 'Texts that are being tokenised' }),
          answers: Type.Integer({ description: 'Responses that are being written or sent' }),
          learning: Type.Optional(
            Type.Integer({ description: 'Processes that train tasks. Absent if learning is switched off.' }),
          ),
        }),
      },
      { description: 'How memory is divided. The rest is for the model, the engines and the heap.' },
    ),
    http_workers: Type.Optional(
      Type.Object(
        {
          configured: Type.Integer({ description: 'Processes that should serve HTTP' }),
          available: Type.Integer({ description: 'Processes that serve HTTP' }),
        },
        { description: 'Absent if a single process does everything' },
      ),
    ),
    database: Type.Optional(
      Type.Object(
        {
          connected: Type.Boolean({ description: 'Whether this replica can write and follow changes' }),
          state: oneOf(followingStates, {
            description:
              'following: this replica receives every change; away: the database cannot be reached or used; copying: a ' +
              'full copy is being made, or will be; other_history: the database lacks changes that this replica has, so ' +
              'it is not followed; mirror_failed: this replica cannot write its copy to disk',
          }),
          behind_seconds: Type.Number({ description: 'Seconds since this replica last had every change' }),
          unwritten_bytes: Type.Integer({
            description: 'Bytes kept in memory because the copy on disk cannot be written',
          }),
        },
        {
          description:
            'Only of a replica that shares a database with others. Without the database predictions still work.',
        },
      ),
    ),
  }),
)
