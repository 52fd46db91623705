// Runs one attack: many connections that do the same until the attack is stopped. Runs as a forked process with low
// priority, because it shares the machine with the server and with the client that is measured.

import { connect, type Socket } from 'node:net'
import { constants, setPriority } from 'node:os'
import { setTimeout as pause } from 'node:timers/promises'
import type { LongBody, Sending } from './attack.js'
import { ResponseReader } from './responses.js'
import { attacksByName } from './table.js'
import { AttackTarget, type Keys } from './target.js'

export type AttackerMessage =
  | { readonly do: 'prepare'; readonly attack: string; readonly url: string; readonly keys: Keys }
  | { readonly do: 'attack' }
  /** Uses processor time, as a share of one core, and sends nothing. */
  | { readonly do: 'compute'; readonly share: number }
  | { readonly do: 'stop' }

/** Sent after the preparation, and after the attack. */
export interface AttackerReport {
  /** Outcomes of the uploads of the preparation. */
  readonly uploads: Readonly<Record<string, number>>
  /** Number of responses by status and code, and of connections that the server closed. */
  readonly responses: Readonly<Record<string, number>>
  /** Processor time of this process per second of the attack. */
  readonly cpuShare: number
}

/** The opening of the connections is spread over this time. */
const openingMs = 1_000
/** Interval in which the share of the processor time is used up, in milliseconds. */
const computeEveryMs = 10
/** Wait before a closed or refused connection is opened again. */
const reopenMs = 250

let sending: Sending | undefined
let running: RunningAttack | undefined
let computing: NodeJS.Timeout | undefined
let target: AttackTarget | undefined
let connections = 0

process.on('disconnect', () => process.exit())
process.on('message', (message: AttackerMessage) => {
  switch (message.do) {
    case 'prepare':
      void prepare(message.attack, message.url, message.keys)
      break
    case 'attack':
      if (target && sending) running = new RunningAttack(target.url, sending, connections)
      break
    case 'compute':
      computing = setInterval(() => computeFor(message.share * computeEveryMs), computeEveryMs)
      break
    case 'stop':
      clearInterval(computing)
      report(running?.stop())
      running = undefined
  }
})

function computeFor(ms: number): void {
  const until = performance.now() + ms
  while (performance.now() < until);
}

async function prepare(name: string, url: string, keys: Keys): Promise<void> {
  const attack = attacksByName.get(name)
  if (attack === undefined) throw new Error(`there is no attack ${name}`)
  setPriority(constants.priority.PRIORITY_BELOW_NORMAL)
  connections = attack.connections
  target = new AttackTarget(url, keys, attack.by)
  sending = await attack.prepare(target)
  report()
}

function report(attacked: Pick<AttackerReport, 'responses' | 'cpuShare'> = { responses: {}, cpuShare: 0 }): void {
  process.send?.({ uploads: target?.uploads ?? {}, ...attacked } satisfies AttackerReport)
}

class RunningAttack {
  readonly #host: string
  readonly #port: number
  readonly #responses: Record<string, number> = {}
  readonly #sockets = new Set<Socket>()
  readonly #cpu = process.cpuUsage()
  readonly #start = performance.now()
  #stopping = false

  constructor(
    url: string,
    readonly sending: Sending,
    connections: number,
  ) {
    const { hostname, port } = new URL(url)
    this.#host = hostname
    this.#port = Number(port)
    for (let index = 0; index < connections; index++) void this.#connection(index, (openingMs * index) / connections)
  }

  stop(): Pick<AttackerReport, 'responses' | 'cpuShare'> {
    this.#stopping = true
    for (const socket of this.#sockets) socket.destroy()
    const { user, system } = process.cpuUsage(this.#cpu)
    return { responses: this.#responses, cpuShare: (user + system) / 1000 / (performance.now() - this.#start) }
  }

  async #connection(index: number, delayMs: number): Promise<void> {
    await pause(delayMs)
    for (let round = 0; !this.#stopping; round++) {
      const connection = new AttackConnection(this.#open(), (outcome) => this.#count(outcome))
      await this.#attack(connection, index, round)
      // An attack that aborts reconnects without a pause.
      if (!this.#stopping && this.sending.kind !== 'abort') await pause(reopenMs)
    }
  }

  /** Resolves when the connection is closed. */
  async #attack(connection: AttackConnection, index: number, round: number): Promise<void> {
    const { sending } = this
    switch (sending.kind) {
      case 'send': {
        const { requests, atOnce = 1 } = sending
        for (let next = index + round; !connection.isClosed; next += atOnce) {
          const batch = Array.from({ length: atOnce }, (_, i) => requests[(next + i) % requests.length] ?? nothing)
          await connection.send(batch)
        }
        return
      }
      case 'hold':
        return connection.hold(sending.bytes, sending.reads)
      case 'stream': {
        const body = sending.bodies[(index + round) % sending.bodies.length]
        return body && connection.stream(body)
      }
      case 'abort': {
        const request = sending.requests[(index + round) % sending.requests.length]
        return connection.abort(request ?? nothing, sending.afterMs)
      }
    }
  }

  #open(): Socket {
    const socket = connect({ host: this.#host, port: this.#port, noDelay: true })
    this.#sockets.add(socket)
    socket.once('close', () => this.#sockets.delete(socket))
    return socket
  }

  #count(outcome: string): void {
    if (!this.#stopping) this.#responses[outcome] = (this.#responses[outcome] ?? 0) + 1
  }
}

const nothing = Buffer.alloc(0)

/** A connection of an attack. */
class AttackConnection {
  isClosed = false
  readonly #closed: Promise<void>
  #onResponse = () => {}
  /** Responses since the last call of send() or stream(). */
  #responses = 0
  #aborted = false

  constructor(
    readonly socket: Socket,
    count: (outcome: string) => void,
  ) {
    const reader = new ResponseReader((outcome) => {
      count(outcome)
      this.#responses++
      this.#onResponse()
    })
    let problem = 'closed'
    socket.on('data', (bytes) => reader.read(bytes))
    socket.on('error', ({ code = 'closed' }: NodeJS.ErrnoException) => {
      problem = code === 'ECONNREFUSED' ? 'not accepted' : 'closed'
    })
    this.#closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.isClosed = true
        if (!this.#aborted) count(problem)
        this.#onResponse()
        resolve()
      })
    })
  }

  /** Sends requests at once. Resolves when all have responses, or the connection is closed. */
  send(requests: readonly Buffer[]): Promise<void> {
    return new Promise((resolve) => {
      this.#responses = 0
      this.#onResponse = () => {
        if (this.#responses >= requests.length || this.isClosed) resolve()
      }
      this.socket.cork()
      for (const request of requests) this.socket.write(request)
      this.socket.uncork()
    })
  }

  hold(bytes: Buffer, reads: boolean): Promise<void> {
    if (!reads) this.socket.pause()
    this.socket.write(bytes)
    return this.#closed
  }

  /** Stops sending as soon as a response arrives. */
  async stream({ head, piece, pieces, tail }: LongBody): Promise<void> {
    this.#responses = 0
    const responded = new Promise<void>((resolve) => {
      this.#onResponse = resolve
    })
    const continues = () => !this.isClosed && this.#responses === 0
    this.socket.write(head)
    for (let sent = 0; sent < pieces && continues(); sent++)
      if (!this.socket.write(piece)) {
        const drained = new Promise<void>((resolve) => this.socket.once('drain', resolve))
        await Promise.race([drained, responded])
      }
    if (continues()) this.socket.write(tail)
    await responded
    this.#aborted = true
    this.socket.destroy()
    await this.#closed
  }

  async abort(request: Buffer, afterMs: number): Promise<void> {
    this.#aborted = true
    this.socket.write(request)
    await pause(afterMs)
    this.socket.resetAndDestroy()
    await this.#closed
  }
}
