// Schemas of tenants and their API keys.

import { Type } from 'typebox'
import { defaults, maxLimit, maxShare, reserved, tenantIdPattern } from '../../tenants/tenant.js'
import { list, nextPage, orNull, pageQuery } from './common.js'
import { component } from './component.js'

export const tenantParams = Type.Object({
  id: Type.String({
    pattern: tenantIdPattern,
    not: { enum: reserved },
    description: 'Id of the tenant',
    examples: ['acme'],
  }),
})
export const keyOwnerParams = Type.Object({
  id: Type.String({
    pattern: tenantIdPattern,
    examples: ['acme'],
    description:
      'Id of a tenant; `operator` for API keys that manage tenants; `metrics` for keys that only read /metrics',
  }),
})
export const keyParams = Type.Object({
  ...keyOwnerParams.properties,
  key_id: Type.String({ description: 'Id of the API key', examples: ['0123456789ab'] }),
})

const limit = (minimum: number, description: string) =>
  orNull(Type.Integer({ minimum, maximum: maxLimit }), `${description}; null for no limit`)

const limits = {
  tasks: limit(0, 'Quota: number of tasks'),
  bytes: limit(0, 'Quota: bytes of all task files and examples together'),
  examples: limit(0, 'Quota: number of examples of all tasks together'),
  requests_per_second: limit(1, 'Rate limit: requests per second at each replica of the server'),
  tokens_per_second: limit(1, 'Rate limit: tokens per second at each replica of the server'),
}
const share = Type.Integer({
  minimum: 1,
  maximum: maxShare,
  default: defaults.share,
  description: 'Weight of the tenant in fair queueing: twice the share gets twice the throughput under load',
})

export const tenantSettings = component(
  'TenantSettings',
  Type.Object(
    {
      limits: Type.Optional(Type.Partial(Type.Object(limits), { additionalProperties: false })),
      share: Type.Optional(share),
    },
    {
      additionalProperties: false,
      examples: [
        {
          limits: {
            tasks: 100,
            bytes: 10_000_000,
            examples: 100_000,
            requests_per_second: 50,
            tokens_per_second: 20_000,
          },
          share: 1,
        },
      ],
    },
  ),
)

export const tenantSchema = component(
  'Tenant',
  Type.Object({
    id: Type.String(),
    created: Type.String({ description: 'Time in ISO 8601' }),
    share,
    limits: component('TenantLimits', Type.Object(limits)),
    usage: component(
      'TenantUsage',
      Type.Object(
        {
          tasks: Type.Integer({ description: 'Number of tasks' }),
          bytes: Type.Integer({ description: 'Bytes of their files and examples' }),
          examples: Type.Integer({ description: 'Number of their examples' }),
        },
        { description: 'What the tenant has stored' },
      ),
    ),
  }),
)

export const tenantListQuery = pageQuery('^[a-z0-9-]{0,63}$')
export const tenantListSchema = component('TenantList', Type.Object({ tenants: list(tenantSchema), next: nextPage }))

const keySettings = {
  expires: orNull(
    Type.String({ format: 'date-time', examples: ['2127-01-01T00:00:00Z'] }),
    'Time in ISO 8601, in the future; null: the key never expires',
  ),
  description: orNull(Type.String({ maxLength: 200 }), 'A note for people, such as where the key is used'),
}
export const newKeyRequest = component(
  'NewApiKey',
  Type.Partial(Type.Object(keySettings), {
    additionalProperties: false,
    examples: [{ description: 'the web shop', expires: null }],
  }),
)
const keyFields = {
  id: Type.String({ description: 'Name of the key in logs and paths; it is not secret' }),
  created: Type.String({ description: 'Time in ISO 8601' }),
  ...keySettings,
}
export const keySchema = component('ApiKey', Type.Object(keyFields))
export const keyListSchema = component('ApiKeyList', Type.Object({ keys: list(keySchema) }))
export const createdKeySchema = component(
  'CreatedApiKey',
  Type.Object({
    ...keyFields,
    key: Type.String({ description: 'The secret. Only this response contains it: the server stores its hash.' }),
  }),
)
