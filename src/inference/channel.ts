// A connection between two processes of this server: requests with responses and cancellation, and notices. When it ends, for
// whatever reason, every request that waits fails with the same Problem, and the work for the peer is cancelled.

import type { Duplex } from 'node:stream'
import { Type } from 'typebox'
import { Compile } from 'typebox/compile'
import { version } from '../package.js'
import { Problem, type ProblemCode, quoted, reasonOf } from '../problem.js'
import type { CancelSignal } from '../scheduler/submission.js'
import type { Call, Notice } from './calls.js'
import { Cancellation } from './cancellation.js'
import { MalformedMessage } from './malformed-message.js'
import { Outbox } from './outbox.js'
import { PacketReader, type Values } from './packets.js'

/** What both sides must have in common. It names the version, because messages may change with every version. */
const protocol = `propetl/${version}`

/** A body, and the arrays that belong to it. */
export interface Part<Body> {
  readonly body: Body
  readonly arrays?: readonly Values[]
}

export type ReceivedPart<Body> = Required<Part<Body>>

/**
 * @returns the parts of the response, at least one. Each part is a message of its own. Large responses have several.
 * @throws MalformedMessage if the request is invalid, which ends the connection
 */
export type Handler<Body, Reply> = (
  request: ReceivedPart<Body>,
  /** Aborted when the peer cancels the request or is lost. In the second case, the reason is a Problem. */
  signal: CancelSignal,
) => readonly Part<Reply>[] | Promise<readonly Part<Reply>[]>

export interface ChannelOptions {
  /** The other process, for error messages. */
  readonly peer: string
  /** Most bytes that may wait to be sent. See `whenFull`. */
  readonly maxWaitingBytes?: number
  /**
   * What happens while more bytes wait. `pause`: this side reads nothing, so that it gets no further requests. `reject`: it
   * sends no further requests. At most one side may pause: two would wait for each other.
   */
  readonly whenFull: 'pause' | 'reject'
  /** The peer is lost if it reads nothing for this long, in milliseconds. */
  readonly stallMs?: number
  /** Called before the messages of a turn are written. It may send notices. */
  readonly beforeWriting?: () => void
}

const defaultMaxWaitingBytes = 2 ** 26
const defaultStallMs = 30_000

const id = Type.Integer({ minimum: 0 })
const head = Compile(
  Type.Union([
    Type.Tuple([Type.Literal('request'), id, Type.String(), Type.Unknown()]),
    /** A part of a response, and whether it is the last one. */
    Type.Tuple([Type.Literal('part'), id, Type.Boolean(), Type.Unknown()]),
    Type.Tuple([Type.Literal('notice'), Type.String(), Type.Unknown()]),
    /** The message, code and details of a Problem. Other errors have no code. */
    Type.Tuple([
      Type.Literal('failure'),
      id,
      Type.String(),
      Type.Union([Type.String(), Type.Null()]),
      Type.Record(Type.String(), Type.Unknown()),
    ]),
    Type.Tuple([Type.Literal('cancel'), id]),
    Type.Tuple([Type.Literal('hello'), Type.String()]),
  ]),
)

interface Pending {
  readonly receive: (part: ReceivedPart<unknown>, isLast: boolean) => void
  readonly reject: (error: Error) => void
}

type AnyHandler = (id: number, request: ReceivedPart<unknown>) => void

export class Channel {
  readonly #stream: Duplex
  readonly #options: ChannelOptions
  readonly #outbox: Outbox
  readonly #reader = new PacketReader()
  readonly #calls = new Map<string, AnyHandler>()
  readonly #notices = new Map<string, (body: ReceivedPart<unknown>) => void>()
  /** Requests that were sent. */
  readonly #pending = new Map<number, Pending>()
  /** Requests that were received. */
  readonly #working = new Map<number, Cancellation>()
  #nextId = 0
  #greeted = false
  #loss: Problem | undefined
  #greet = () => {}
  #end: (loss: Problem) => void = () => {}
  /** Resolves when the peer has said which version it is; rejects if it is another one, or lost before. */
  readonly ready: Promise<void>
  /** Resolves with the reason when the connection has ended. */
  readonly ended = new Promise<Problem>((resolve) => {
    this.#end = resolve
  })

  constructor(stream: Duplex, options: ChannelOptions) {
    this.#stream = stream
    this.#options = options
    this.ready = Promise.race([
      new Promise<void>((resolve) => {
        this.#greet = resolve
      }),
      this.ended.then((loss) => {
        throw loss
      }),
    ])
    // Not every user of a channel waits for this.
    this.ready.catch(() => {})
    const stallMs = options.stallMs ?? defaultStallMs
    this.#outbox = new Outbox(stream, {
      stallMs,
      onStalled: () => this.#lose(`it has read nothing for ${stallMs} ms`),
      beforeWriting: () => options.beforeWriting?.(),
      onWritten: () => {
        if (stream.isPaused() && this.#outbox.bytes <= this.#maxWaitingBytes) stream.resume()
      },
    })
    stream.on('data', (chunk: Buffer) => this.#read(chunk))
    stream.on('error', (error) => this.#lose(reasonOf(error)))
    stream.on('close', () => this.#lose('it closed the connection'))
    stream.on('end', () => this.#lose('it closed the connection'))
    this.#send(['hello', protocol])
  }

  /** Bytes that the peer has not read yet, approximately. */
  get waitingBytes(): number {
    return this.#outbox.bytes
  }

  /** Handles requests of the peer. */
  serve<Body, Reply>({ name, body }: Call<Body, Reply>, handler: Handler<Body, Reply>): void {
    this.#calls.set(name, (id, request) => {
      if (!body.Check(request.body)) throw new MalformedMessage(`the request ${quoted(name)} has an invalid body`)
      void this.#answer(id, { ...request, body: request.body }, handler)
    })
  }

  /** Handles notices of the peer. */
  listen<Body>({ name, body }: Notice<Body>, handler: (body: Body) => void): void {
    this.#notices.set(name, (notice) => {
      if (!body.Check(notice.body)) throw new MalformedMessage(`the notice ${quoted(name)} has an invalid body`)
      handler(notice.body)
    })
  }

  /**
   * Sends a request. Aborting the signal asks the peer to cancel it, whose response says what came of it.
   * @throws Problem of the peer, with its code, message and details; `overloaded` if too much waits to be sent;
   *   `engine_lost` if the connection ends; Error if the peer failed
   */
  async request<Body, Reply>(
    { name, reply }: Call<Body, Reply>,
    { body, arrays = [] }: Part<Body>,
    signal?: CancelSignal,
  ): Promise<ReceivedPart<Reply>[]> {
    if (this.#loss !== undefined) throw this.#loss
    this.#checkRoom()
    const id = this.#nextId++
    const cancel = () => this.#send(['cancel', id])
    this.#send(['request', id, name, body], arrays)
    signal?.addEventListener('abort', cancel, { once: true })
    try {
      return await new Promise((resolve, reject) => {
        const parts: ReceivedPart<Reply>[] = []
        const receive = (part: ReceivedPart<unknown>, isLast: boolean) => {
          if (!reply.Check(part.body)) throw new MalformedMessage(`a response to ${quoted(name)} has an invalid body`)
          parts.push({ ...part, body: part.body })
          if (isLast) resolve(parts)
        }
        this.#pending.set(id, { receive, reject })
      })
    } finally {
      signal?.removeEventListener('abort', cancel)
    }
  }

  notify<Body>({ name }: Notice<Body>, body: Body): void {
    this.#send(['notice', name, body])
  }

  /** Ends the connection. What waits to be sent is discarded. */
  close(reason = 'this process closed the connection'): void {
    this.#lose(reason)
  }

  #checkRoom(): void {
    const { whenFull, peer } = this.#options
    const [bytes, limit] = [this.#outbox.bytes, this.#maxWaitingBytes]
    if (whenFull === 'reject' && bytes > limit)
      throw new Problem(
        'overloaded',
        `${peer} has not read ${bytes} bytes that were sent to it; the limit is ${limit}; try again later`,
        { bytes, limit, retry_after_s: 1 },
      )
  }

  get #maxWaitingBytes(): number {
    return this.#options.maxWaitingBytes ?? defaultMaxWaitingBytes
  }

  #send(head: readonly unknown[], arrays: readonly Values[] = []): void {
    if (this.#loss !== undefined) return
    this.#outbox.add({ head, arrays })
    if (this.#options.whenFull === 'pause' && this.#outbox.bytes > this.#maxWaitingBytes) this.#stream.pause()
  }

  async #answer<Body, Reply>(id: number, request: ReceivedPart<Body>, handler: Handler<Body, Reply>): Promise<void> {
    const cancellation = new Cancellation()
    this.#working.set(id, cancellation)
    try {
      const parts = await handler(request, cancellation)
      for (const [index, { body, arrays }] of parts.entries())
        this.#send(['part', id, index === parts.length - 1, body], arrays)
    } catch (error) {
      if (error instanceof MalformedMessage) this.#lose(error.message)
      else if (error instanceof Problem) this.#send(['failure', id, error.message, error.code, error.details])
      else this.#send(['failure', id, reasonOf(error), null, {}])
    } finally {
      this.#working.delete(id)
    }
  }

  #read(chunk: Buffer): void {
    try {
      for (const message of this.#reader.read(chunk)) {
        if (this.#loss !== undefined) return
        this.#receive(message.head, message.arrays)
      }
    } catch (error) {
      this.#lose(`it sent what cannot be read: ${reasonOf(error)}`)
    }
  }

  #receive(message: unknown, arrays: readonly Values[]): void {
    if (!head.Check(message)) throw new MalformedMessage('a message has an unknown form')
    if (!this.#greeted && message[0] !== 'hello') throw new MalformedMessage('the first message is not a greeting')
    switch (message[0]) {
      case 'request': {
        const [, id, name, body] = message
        const handler = this.#calls.get(name)
        if (handler === undefined) throw new MalformedMessage(`there is no request ${quoted(name)}`)
        if (this.#working.has(id)) throw new MalformedMessage(`the request ${id} exists already`)
        handler(id, { body, arrays })
        return
      }
      case 'part': {
        const [, id, isLast, body] = message
        this.#pendingOf(id).receive({ body, arrays }, isLast)
        if (isLast) this.#pending.delete(id)
        return
      }
      case 'notice': {
        const [, name, body] = message
        const handler = this.#notices.get(name)
        if (handler === undefined) throw new MalformedMessage(`there is no notice ${quoted(name)}`)
        handler({ body, arrays })
        return
      }
      case 'failure': {
        const [, id, text, code, details] = message
        this.#pendingOf(id).reject(code === null ? new Error(text) : new Problem(code as ProblemCode, text, details))
        this.#pending.delete(id)
        return
      }
      case 'cancel':
        // The response may be on its way already.
        this.#working.get(message[1])?.abort()
        return
      case 'hello':
        if (this.#greeted) throw new MalformedMessage('a second greeting')
        if (message[1] !== protocol)
          throw new MalformedMessage(`it speaks ${quoted(message[1])}; expected ${quoted(protocol)}`)
        this.#greeted = true
        this.#greet()
    }
  }

  #pendingOf(id: number): Pending {
    const pending = this.#pending.get(id)
    if (pending === undefined)
      throw new MalformedMessage(`a response to the request ${id}, which does not wait for one`)
    return pending
  }

  #lose(reason: string): void {
    if (this.#loss !== undefined) return
    const loss = new Problem('engine_lost', `the connection to ${this.#options.peer} has ended: ${reason}`)
    this.#loss = loss
    this.#outbox.discard()
    this.#stream.destroy()
    this.#end(loss)
    for (const { reject } of this.#pending.values()) reject(loss)
    this.#pending.clear()
    for (const cancellation of this.#working.values()) cancellation.abort(loss)
  }
}
