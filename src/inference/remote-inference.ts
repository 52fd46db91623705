// Inference of an HTTP worker: it asks the process that owns the engines (host.ts).

import type { Duplex } from 'node:stream'
import { LRUCache } from 'lru-cache'
import type { RowResult } from '../engine/engine.js'
import { Problem } from '../problem.js'
import { within } from '../running-time.js'
import type { Demand } from '../scheduler/admission.js'
import type { Submission } from '../scheduler/submission.js'
import type { RateStatus } from '../tenants/rates.js'
import { Channel } from './channel.js'
import type { CheckOptions, Inference, InferenceOptions, Payer } from './inference.js'
import { toMachineTime } from './machine-clock.js'
import { MalformedMessage } from './malformed-message.js'
import { payerKey, sentPayer } from './payers.js'
import { bitsetCall, checkCall, loadNotice, ratesNotice, submitCall, takeRequestCall } from './protocol.js'
import { receivedResults, sentRows } from './submissions.js'

/** How long a check may use what was heard from the host, in milliseconds. */
const freshMs = 100
/** A check passes without a question if all waiting rows take at most this part of the time that is left. */
const calmShare = 1 / 4
/** How long the checks of a payer ask the host after one of its requests was rejected, in milliseconds. */
const cautiousMs = 1_000
/** Payers whose rates are remembered. */
const maxPayers = 10_000
const maxGreetingMs = 30_000
const never = Number.NEGATIVE_INFINITY

/** What a worker has heard of a payer, and when, in milliseconds of performance.now(). */
interface Heard {
  statuses: readonly RateStatus[]
  at: number
  rejectedAt: number
}

export class RemoteInference implements Inference {
  readonly #channel: Channel
  /** Requests that wait for their results. The host may ask for the bitsets of their rows. */
  readonly #submitted = new Set<{ readonly rows: readonly Submission[] }>()
  readonly #payers = new LRUCache<string, Heard>({ max: maxPayers })
  #load = { waitMs: 0, at: never }

  private constructor(channel: Channel) {
    this.#channel = channel
    channel.listen(loadNotice, (waitMs) => {
      this.#load = { waitMs, at: performance.now() }
    })
    channel.listen(ratesNotice, ({ payer, statuses }) =>
      Object.assign(this.#heard(payer), { statuses, at: performance.now() }),
    )
    channel.serve(bitsetCall, ({ body }) => [{ body: null, arrays: [this.#bitset(body)] }])
  }

  /**
   * @param stream to a stream that InferenceHost.serve takes
   * @throws Problem `engine_lost` if the host is lost, is of another version, or does not respond
   */
  static async connect(stream: Duplex): Promise<RemoteInference> {
    const channel = new Channel(stream, { peer: 'the process of the engines', whenFull: 'reject' })
    const inference = new RemoteInference(channel)
    const isReady = await within(
      maxGreetingMs,
      channel.ready.then(() => true),
    )
    if (isReady) return inference
    channel.close(`it has sent no greeting for ${maxGreetingMs} ms`)
    throw await channel.ended
  }

  /** Resolves with the reason when the connection to the host has ended. */
  get ended(): Promise<Problem> {
    return this.#channel.ended
  }

  close(): void {
    this.#channel.close()
  }

  takeRequest(payer: Payer): void | Promise<void> {
    if (isUnlimited(payer, 'requestsPerSecond')) return
    return this.#asking(payer, async () => {
      await this.#channel.request(takeRequestCall, { body: sentPayer(payer) })
    })
  }

  check(payer: Payer, demand: Demand, { deadline, background }: CheckOptions): void | Promise<void> {
    // `submit` decides, and nobody waits for it.
    if (background) return
    const { rows, byTask } = demand
    if (byTask.size === 0 && isUnlimited(payer, 'tokensPerSecond')) return
    if (this.#isCalm(payer, deadline)) return
    const tasks = Array.from(byTask, ([task, { tokens, cost }]): [string, number, number] => [task, tokens, cost])
    const body = { payer: sentPayer(payer), deadline: toMachineTime(deadline), rows, tasks }
    return this.#asking(payer, async () => {
      await this.#channel.request(checkCall, { body })
    })
  }

  submit(payer: Payer, rows: readonly Submission[], options: InferenceOptions): Promise<RowResult[]> {
    const { deadline, signal, background = false } = options
    const submit = async () => {
      const { body, arrays } = sentRows(rows)
      const request = {
        payer: sentPayer(payer),
        deadline: toMachineTime(deadline),
        background,
        cancelled: signal?.aborted ?? false,
        ...body,
      }
      const submitted = { rows }
      this.#submitted.add(submitted)
      try {
        const parts = await this.#channel.request(submitCall, { body: request, arrays }, signal)
        return receivedResults(parts, rows.length)
      } catch (error) {
        if (!(error instanceof MalformedMessage)) throw error
        this.#channel.close(error.message)
        throw await this.#channel.ended
      } finally {
        this.#submitted.delete(submitted)
      }
    }
    // The rejection of work in the background says nothing about requests.
    return background ? submit() : this.#asking(payer, submit)
  }

  statuses(payer: Payer): readonly RateStatus[] {
    return this.#payers.get(payerKey(payer))?.statuses ?? []
  }

  /** Whether a request would pass, according to what was heard lately. */
  #isCalm(payer: Payer, deadline: number): boolean {
    const now = performance.now()
    const { waitMs, at } = this.#load
    if (now - at > freshMs || waitMs > calmShare * (deadline - now)) return false
    const heard = this.#payers.peek(payerKey(payer))
    if (heard !== undefined && now - heard.rejectedAt < cautiousMs) return false
    if (isUnlimited(payer, 'tokensPerSecond')) return true
    const tokens = heard?.statuses.find(({ rate }) => rate === 'tokens')
    return heard !== undefined && now - heard.at <= freshMs && tokens !== undefined && tokens.remaining > 0
  }

  /** Remembers whether the host rejects a request. */
  async #asking<T>(payer: Payer, ask: () => Promise<T>): Promise<T> {
    try {
      return await ask()
    } catch (error) {
      if (error instanceof Problem) this.#heard(payerKey(payer)).rejectedAt = performance.now()
      throw error
    }
  }

  #heard(key: string): Heard {
    const heard = this.#payers.get(key) ?? { statuses: [], at: never, rejectedAt: never }
    this.#payers.set(key, heard)
    return heard
  }

  #bitset(maskKey: string): Uint8Array {
    for (const { rows } of this.#submitted) for (const { row } of rows) if (row.maskKey === maskKey) return row.bitset()
    throw new Error(`no request of this process needs the mask ${maskKey} any more`)
  }
}

const isUnlimited = ({ tenant }: Payer, limit: 'requestsPerSecond' | 'tokensPerSecond'): boolean =>
  tenant === undefined || tenant.limits[limit] === null
