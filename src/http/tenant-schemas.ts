// The API's types of tenants and keys.

import { type TSchema, Type } from 'typebox'
import { defaults, maxLimit, maxShare, reserved, tenantIdPattern } from '../tenants/tenant.js'
import { list } from './schemas.js'

export const tenantParams = Type.Object({
  id: Type.String({
    pattern: tenantIdPattern,
    not: { enum: reserved },
    description: "A tenant's id",
    examples: ['acme'],
  }),
})
export const ownerParams = Type.Object({
  id: Type.String({
    pattern: tenantIdPattern,
    examples: ['acme'],
    description: "A tenant's id; or operator for keys that manage tenants, metrics for keys that read /metrics alone",
  }),
})
export const keyParams = Type.Object({ ...ownerParams.properties, key: Type.String({ description: "A key's id" }) })

const orNull = <T extends TSchema>(schema: T, description: string) => Type.Union([schema, Type.Null()], { description })
const limit = (minimum: number, description: string) =>
  orNull(Type.Integer({ minimum, maximum: maxLimit }), `${description}; null is no limit`)

const limits = {
  tasks: limit(0, 'Tasks'),
  bytes: limit(0, 'Bytes of its task files together'),
  requests_per_second: limit(1, 'Requests a second, at each replica of the server'),
  tokens_per_second: limit(1, 'Tokens of texts a second, at each replica of the server'),
}
const share = Type.Integer({
  minimum: 1,
  maximum: maxShare,
  default: defaults.share,
  description: "Weight of its turns at the engine, against other tenants'",
})

export const tenantBody = Type.Object(
  {
    limits: Type.Optional(Type.Partial(Type.Object(limits), { additionalProperties: false })),
    share: Type.Optional(share),
  },
  {
    additionalProperties: false,
    examples: [
      { limits: { tasks: 100, bytes: 10_000_000, requests_per_second: 50, tokens_per_second: 20_000 }, share: 1 },
    ],
  },
)

export const tenantAnswer = Type.Object({
  id: Type.String(),
  created: Type.String({ description: 'ISO 8601' }),
  share,
  limits: Type.Object(limits),
  usage: Type.Object({ tasks: Type.Integer(), bytes: Type.Integer() }, { description: 'What it has stored' }),
})

export const tenantListQuery = Type.Object(
  {
    after: Type.Optional(Type.String({ pattern: '^[a-z0-9-]{0,63}$', description: "The previous page's `next`" })),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, default: 100 })),
  },
  { additionalProperties: false },
)
export const tenantListAnswer = Type.Object({
  tenants: list(tenantAnswer),
  next: orNull(Type.String(), 'Pass it as `after` for the next page; null on the last'),
})

const terms = {
  expires: orNull(
    Type.String({ format: 'date-time', examples: ['2127-01-01T00:00:00Z'] }),
    'ISO 8601, and to come; null is never',
  ),
  description: orNull(Type.String({ maxLength: 200 }), 'For people: where it is used'),
}
export const keyBody = Type.Partial(Type.Object(terms), {
  additionalProperties: false,
  examples: [{ description: 'the web shop', expires: null }],
})
export const keyAnswer = Type.Object({
  id: Type.String({ description: 'What logs call it; it is not the key' }),
  created: Type.String({ description: 'ISO 8601' }),
  ...terms,
})
export const keyListAnswer = Type.Object({ keys: list(keyAnswer) })
export const newKeyAnswer = Type.Object(
  { ...keyAnswer.properties, key: Type.String({ description: 'The key itself; nobody can tell it again' }) },
  { description: 'Made' },
)
