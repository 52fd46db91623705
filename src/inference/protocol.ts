// The messages between an HTTP worker (remote-inference.ts) and the process that owns the engines (host.ts).

import { type Static, Type } from 'typebox'
import { poolings } from '../petl/task.js'
import { defineCall, defineNotice } from './calls.js'

const limit = Type.Union([Type.Number(), Type.Null()])

/** What the host needs to know of a payer: who it is, and its share and rates. */
const payer = Type.Object({
  owner: Type.String(),
  tenant: Type.Optional(
    Type.Object({
      incarnation: Type.String(),
      share: Type.Number(),
      requestsPerSecond: limit,
      tokensPerSecond: limit,
    }),
  ),
})

export type SentPayer = Static<typeof payer>

/** In milliseconds of the machine's clock; see machine-clock.ts. */
const deadline = Type.Number()
const background = Type.Boolean()
const nothing = Type.Null()
const count = Type.Integer({ minimum: 0 })

/** Worker to host: Inference.takeRequest. */
export const takeRequestCall = defineCall('takeRequest', payer, nothing)

/** Worker to host: Inference.check. Each task has its tokens and its cost. */
export const checkCall = defineCall(
  'check',
  Type.Object({ payer, deadline, rows: count, tasks: Type.Array(Type.Tuple([Type.String(), count, Type.Number()])) }),
  nothing,
)

/** What rows of a request have in common. */
const kind = Type.Object({
  task: Type.String(),
  maskKey: Type.String(),
  pooling: Type.Enum(poolings),
  bare: Type.Boolean(),
  withHidden: Type.Boolean(),
})

const submission = Type.Object({
  payer,
  deadline,
  background,
  /** The client had disconnected before the request was sent. */
  cancelled: Type.Boolean(),
  kinds: Type.Array(kind),
  rows: Type.Array(Type.Tuple([count, count, limit])),
})

export type SentSubmission = Static<typeof submission>
export type SentKind = Static<typeof kind>

/**
 * Worker to host: Inference.submit. A row is the place of its kind, its number of tokens, and its cost if it has one. The
 * only array has the token ids of all rows, followed by their token type ids. A part of the response has the number of
 * arrays of each of its rows: 1 for the pooled vector, 2 if the hidden states follow.
 */
export const submitCall = defineCall('submit', submission, Type.Array(Type.Integer({ minimum: 1, maximum: 2 })))

/** Host to worker: the bitset of a mask that a submitted row needs, as the only array. */
export const bitsetCall = defineCall('bitset', Type.String(), nothing)

/** Host to worker: how long all waiting rows will take, in milliseconds. */
export const loadNotice = defineNotice('load', Type.Number())

/** Host to worker: the state of a payer's rate limits after one of its requests. */
export const ratesNotice = defineNotice(
  'rates',
  Type.Object({
    payer: Type.String(),
    statuses: Type.Array(
      Type.Object({
        rate: Type.Enum(['requests', 'tokens']),
        quota: Type.Number(),
        remaining: Type.Number(),
        fullAfter: Type.Number(),
      }),
    ),
  }),
)
