// What an attack is: who sends it, what each of its connections sends, and which answers it may get.

import type { Stage } from './stage.js'

/** A tenant without limits, one with low rates and a small quota, a holder of the key of `metrics`, nobody. */
export type Sender = 'tenant' | 'limited' | 'scraper' | 'stranger'

/** What a connection does until the attack ends. One that is closed is opened again. */
export type Sending =
  /** Sends requests in their order, over and over: so many at once, and the next when these are answered. */
  | { readonly kind: 'ask'; readonly requests: readonly Buffer[]; readonly atOnce?: number }
  /** Sends the bytes once and keeps the connection open; it may leave its answers unread. */
  | { readonly kind: 'hold'; readonly bytes: Buffer; readonly reads: boolean }
  /** Sends a long body piece by piece, as fast as it is taken. */
  | { readonly kind: 'pour'; readonly bodies: readonly LongBody[] }
  /** Sends a request and closes the connection without an answer. */
  | { readonly kind: 'leave'; readonly requests: readonly Buffer[]; readonly afterMs: number }

export interface LongBody {
  readonly head: Buffer
  readonly piece: Buffer
  readonly pieces: number
  readonly tail: Buffer
}

export interface Attack {
  readonly name: string
  /** For people. */
  readonly sends: string
  readonly by: Sender
  readonly connections: number
  /** Statuses it may get, a class of them such as `4xx`, or `closed`. */
  readonly allowed: readonly string[]
  /** Uploads what the attack needs. */
  readonly prepare: (stage: Stage) => Sending | Promise<Sending>
}

/** Served, refused, or cut off; but never an error of the server. */
export const anyAnswer: readonly string[] = ['2xx', '3xx', '4xx', '503', '504', 'closed']
/** The request is beyond a limit. */
export const onlyRefused: readonly string[] = ['4xx', 'closed']

/** @param outcome a status and perhaps a code, or `closed` */
export function isAllowed(allowed: readonly string[], outcome: string): boolean {
  const [status = ''] = outcome.split(' ')
  return allowed.includes(status) || allowed.includes(status.replace(/^(\d)\d\d$/, '$1xx'))
}

export const many = <T>(count: number, item: (index: number) => T): T[] =>
  Array.from({ length: count }, (_, index) => item(index))

/** One request at a time on each connection. */
export const ask = (...requests: readonly Buffer[]): Sending => ({ kind: 'ask', requests })

/** The request so many times at once, and no answer is read. */
export const unread = (request: Buffer, count = 1): Sending => ({
  kind: 'hold',
  bytes: Buffer.concat(many(count, () => request)),
  reads: false,
})
