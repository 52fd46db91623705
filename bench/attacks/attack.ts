// The definition of an attack: who sends it, what each connection sends, and which responses are allowed.

import type { AttackTarget, Sender } from './target.js'

/** What a connection does until the attack ends. A closed connection is opened again. */
export type Sending =
  /** Sends the requests in order, repeatedly: `atOnce` requests, and the next when these have their responses. */
  | { readonly kind: 'send'; readonly requests: readonly Buffer[]; readonly atOnce?: number }
  /** Sends the bytes once and keeps the connection open. May leave the responses unread. */
  | { readonly kind: 'hold'; readonly bytes: Buffer; readonly reads: boolean }
  /** Sends a long body piece by piece, as fast as the server reads it. */
  | { readonly kind: 'stream'; readonly bodies: readonly LongBody[] }
  /** Sends a request and resets the connection before the response. */
  | { readonly kind: 'abort'; readonly requests: readonly Buffer[]; readonly afterMs: number }

export interface LongBody {
  readonly head: Buffer
  readonly piece: Buffer
  readonly pieces: number
  readonly tail: Buffer
}

export interface Attack {
  readonly name: string
  /** A description for the report. */
  readonly sends: string
  readonly by: Sender
  readonly connections: number
  /** Allowed outcomes: a status, a class such as `4xx`, or `closed`. */
  readonly allowed: readonly string[]
  /** Uploads the tasks that the attack needs. */
  readonly prepare: (target: AttackTarget) => Sending | Promise<Sending>
}

/** Success, rejection or a closed connection, but no internal error. */
export const anyResponse: readonly string[] = ['2xx', '3xx', '4xx', '503', '504', 'closed']
/** The request exceeds a limit or is invalid. */
export const onlyRejected: readonly string[] = ['4xx', 'closed']

/** @param outcome a status with an optional code, or `closed` */
export function isAllowed(allowed: readonly string[], outcome: string): boolean {
  const [status = ''] = outcome.split(' ')
  return allowed.includes(status) || allowed.includes(status.replace(/^(\d)\d\d$/, '$1xx'))
}

export const many = <T>(count: number, item: (index: number) => T): T[] =>
  Array.from({ length: count }, (_, index) => item(index))

/** Sends one request at a time on each connection. */
export const send = (...requests: readonly Buffer[]): Sending => ({ kind: 'send', requests })

/** Sends the request `count` times at once, and reads no response. */
export const unread = (request: Buffer, count = 1): Sending => ({
  kind: 'hold',
  bytes: Buffer.concat(many(count, () => request)),
  reads: false,
})
