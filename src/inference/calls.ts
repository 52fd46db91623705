// What two processes can ask of each other. The shapes of all bodies are checked by the receiver: a process never trusts the
// bytes of another one.

import type { Static, TSchema } from 'typebox'
import { Compile } from 'typebox/compile'

interface Shape<T> {
  Check(value: unknown): value is T
}

/** A request with a response. */
export interface Call<Body, Reply> {
  readonly name: string
  readonly body: Shape<Body>
  readonly reply: Shape<Reply>
}

/** A message without a response. */
export interface Notice<Body> {
  readonly name: string
  readonly body: Shape<Body>
}

const shapeOf = <S extends TSchema>(schema: S): Shape<Static<S>> => {
  const validator = Compile(schema)
  return { Check: (value): value is Static<S> => validator.Check(value) }
}

export const defineCall = <B extends TSchema, R extends TSchema>(
  name: string,
  body: B,
  reply: R,
): Call<Static<B>, Static<R>> => ({ name, body: shapeOf(body), reply: shapeOf(reply) })

export const defineNotice = <B extends TSchema>(name: string, body: B): Notice<Static<B>> => ({
  name,
  body: shapeOf(body),
})
