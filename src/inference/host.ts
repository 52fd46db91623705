// The process that owns the engines, as HTTP workers see it: it computes their requests with its own Inference, so that limits
// hold over all workers. A worker that is lost leaves nothing behind.

import type { Duplex } from 'node:stream'
import { LRUCache } from 'lru-cache'
import { type CancelSignal, demandOf } from '../scheduler/submission.js'
import { Channel, type Part, type ReceivedPart } from './channel.js'
import type { Inference, Payer } from './inference.js'
import { fromMachineTime } from './machine-clock.js'
import { MalformedMessage } from './malformed-message.js'
import { hasRates, payerKey, receivedPayer } from './payers.js'
import {
  bitsetCall,
  checkCall,
  loadNotice,
  ratesNotice,
  type SentSubmission,
  submitCall,
  takeRequestCall,
} from './protocol.js'
import { receivedRows, sentResults } from './submissions.js'

export interface HostOptions {
  /** Most bytes of bitsets that are kept for later requests. */
  readonly maskBytes: number
  /** How long all waiting rows will take, in milliseconds. */
  readonly waitMs: () => number
}

/** The memory of an entry in addition to its bitset. */
const entryBytes = 200

const noResult: readonly Part<null>[] = [{ body: null }]

export class InferenceHost {
  /** By mask key. An engine needs a bitset again after its bank has evicted it. */
  readonly #bitsets: LRUCache<string, Uint8Array>

  constructor(
    readonly inference: Inference,
    readonly options: HostOptions,
  ) {
    this.#bitsets = new LRUCache({
      maxSize: options.maskBytes,
      sizeCalculation: ({ byteLength }) => byteLength + entryBytes,
    })
  }

  /**
   * Serves a worker until the stream ends or the returned channel is closed. Rows of the worker that wait are then cancelled.
   * @param name of the worker, for error messages
   */
  serve(stream: Duplex, name: string): Channel {
    const channel = new Channel(stream, {
      peer: name,
      whenFull: 'pause',
      beforeWriting: () => channel.notify(loadNotice, this.options.waitMs()),
    })
    const fetch = fetchOnce(channel)
    channel.serve(takeRequestCall, async ({ body }) => {
      const payer = receivedPayer(body)
      await this.#reporting(channel, payer, () => this.inference.takeRequest(payer))
      return noResult
    })
    channel.serve(checkCall, async ({ body: { rows, tasks, deadline, ...body } }) => {
      const payer = receivedPayer(body.payer)
      const demand = { rows, byTask: new Map(tasks.map(([task, tokens, cost]) => [task, { tokens, cost }])) }
      const options = { deadline: fromMachineTime(deadline) }
      await this.#reporting(channel, payer, () => this.inference.check(payer, demand, options))
      return noResult
    })
    channel.serve(submitCall, async (request, signal) => {
      const payer = receivedPayer(request.body.payer)
      return this.#reporting(channel, payer, () => this.#submit(payer, request, signal, fetch))
    })
    return channel
  }

  /** Tells the worker the payer's rates after the work, whether or not it succeeds. */
  async #reporting<T>(channel: Channel, payer: Payer, work: () => T | Promise<T>): Promise<T> {
    try {
      return await work()
    } finally {
      if (hasRates(payer))
        channel.notify(ratesNotice, { payer: payerKey(payer), statuses: [...this.inference.statuses(payer)] })
    }
  }

  async #submit(
    payer: Payer,
    request: ReceivedPart<SentSubmission>,
    signal: CancelSignal,
    fetch: (maskKey: string) => Promise<Uint8Array>,
  ): Promise<Part<number[]>[]> {
    const { kinds, cancelled, background } = request.body
    const deadline = fromMachineTime(request.body.deadline)
    const bitsets = new Map(kinds.map(({ maskKey }) => [maskKey, this.#bitsets.get(maskKey)]))
    const rows = receivedRows(request, (maskKey) => {
      const bitset = bitsets.get(maskKey)
      if (bitset === undefined) throw new Error(`the bitset of mask ${maskKey} is missing`)
      return bitset
    })
    const missing = [...bitsets.keys()].filter((maskKey) => bitsets.get(maskKey) === undefined)
    if (missing.length > 0 && !cancelled) {
      // Do not ask for the bitsets of a request that is rejected.
      await this.inference.check(payer, demandOf(rows), { deadline, background })
      const fetched = await Promise.all(missing.map(async (maskKey) => [maskKey, await fetch(maskKey)] as const))
      for (const [maskKey, bitset] of fetched) {
        bitsets.set(maskKey, bitset)
        this.#bitsets.set(maskKey, bitset)
      }
    }
    const options = { deadline, background, signal: cancelled ? AbortSignal.abort() : signal }
    return sentResults(await this.inference.submit(payer, rows, options))
  }
}

/** Asks a worker for bitsets. Requests that need the same bitset at the same time share one response. */
function fetchOnce(channel: Channel): (maskKey: string) => Promise<Uint8Array> {
  const asked = new Map<string, Promise<Uint8Array>>()
  const fetch = async (maskKey: string): Promise<Uint8Array> => {
    const [part] = await channel.request(bitsetCall, { body: maskKey })
    const [bitset] = part?.arrays ?? []
    if (bitset instanceof Uint8Array) return bitset
    throw new MalformedMessage('the response with a bitset has none')
  }
  return (maskKey) => {
    const response = asked.get(maskKey) ?? fetch(maskKey).finally(() => asked.delete(maskKey))
    asked.set(maskKey, response)
    return response
  }
}
