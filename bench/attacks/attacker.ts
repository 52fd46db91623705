// Sends one attack: many connections, each of which does the same until it is told to stop. Runs as a forked process of
// low priority, for it shares the machine with the server and with the client that is measured.

import { connect, type Socket } from 'node:net'
import { constants, setPriority } from 'node:os'
import { setTimeout as pause } from 'node:timers/promises'
import { AnswerReader } from './answers.js'
import type { LongBody, Sending } from './attack.js'
import { type Keys, Stage } from './stage.js'
import { attacksByName } from './table.js'

export type AttackerMessage =
  | { readonly do: 'prepare'; readonly attack: string; readonly url: string; readonly keys: Keys }
  | { readonly do: 'attack' }
  | { readonly do: 'stop' }

/** After the preparation, and after the attack. */
export interface AttackerReport {
  /** How uploads of the preparation were answered. */
  readonly uploads: Readonly<Record<string, number>>
  /** Answers by status and code, and connections that the server closed. */
  readonly answers: Readonly<Record<string, number>>
  /** Processor time of this process, for a second of the attack. */
  readonly cpuShare: number
}

/** Connections are opened within this time, not all at once. */
const openingMs = 1_000
/** Before a connection that was closed or refused is opened again. */
const reopenMs = 250

let sending: Sending | undefined
let attacking: Attacking | undefined
let stage: Stage | undefined
let connections = 0

// Nobody is left to stop it.
process.on('disconnect', () => process.exit())
process.on('message', (message: AttackerMessage) => {
  switch (message.do) {
    case 'prepare':
      void prepare(message.attack, message.url, message.keys)
      break
    case 'attack':
      if (stage && sending) attacking = new Attacking(stage.url, sending, connections)
      break
    case 'stop':
      report(attacking?.stop())
  }
})

async function prepare(name: string, url: string, keys: Keys): Promise<void> {
  const attack = attacksByName.get(name)
  if (attack === undefined) throw new Error(`there is no attack ${name}`)
  setPriority(constants.priority.PRIORITY_BELOW_NORMAL)
  connections = attack.connections
  stage = new Stage(url, keys, attack.by)
  sending = await attack.prepare(stage)
  report()
}

function report(attacked: Pick<AttackerReport, 'answers' | 'cpuShare'> = { answers: {}, cpuShare: 0 }): void {
  process.send?.({ uploads: stage?.uploads ?? {}, ...attacked } satisfies AttackerReport)
}

class Attacking {
  readonly #host: string
  readonly #port: number
  readonly #answers: Record<string, number> = {}
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

  stop(): Pick<AttackerReport, 'answers' | 'cpuShare'> {
    this.#stopping = true
    for (const socket of this.#sockets) socket.destroy()
    const { user, system } = process.cpuUsage(this.#cpu)
    return { answers: this.#answers, cpuShare: (user + system) / 1000 / (performance.now() - this.#start) }
  }

  async #connection(index: number, delayMs: number): Promise<void> {
    await pause(delayMs)
    for (let round = 0; !this.#stopping; round++) {
      const link = new Link(this.#open(), (outcome) => this.#count(outcome))
      await this.#attack(link, index, round)
      // An attacker who leaves comes again at once.
      if (!this.#stopping && this.sending.kind !== 'leave') await pause(reopenMs)
    }
  }

  /** Until the connection is closed. */
  async #attack(link: Link, index: number, round: number): Promise<void> {
    const { sending } = this
    switch (sending.kind) {
      case 'ask': {
        const { requests, atOnce = 1 } = sending
        for (let next = index + round; !link.isClosed; next += atOnce) {
          const batch = Array.from({ length: atOnce }, (_, i) => requests[(next + i) % requests.length] ?? nothing)
          await link.ask(batch)
        }
        return
      }
      case 'hold':
        return link.hold(sending.bytes, sending.reads)
      case 'pour': {
        const body = sending.bodies[(index + round) % sending.bodies.length]
        return body && link.pour(body)
      }
      case 'leave': {
        const request = sending.requests[(index + round) % sending.requests.length]
        return link.leave(request ?? nothing, sending.afterMs)
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
    if (!this.#stopping) this.#answers[outcome] = (this.#answers[outcome] ?? 0) + 1
  }
}

const nothing = Buffer.alloc(0)

/** A connection of an attack. */
class Link {
  isClosed = false
  readonly #closed: Promise<void>
  #answered = () => {}
  /** Answers that have come of those that are awaited. */
  #answers = 0
  #leaves = false

  constructor(
    readonly socket: Socket,
    count: (outcome: string) => void,
  ) {
    const reader = new AnswerReader((outcome) => {
      count(outcome)
      this.#answers++
      this.#answered()
    })
    let problem = 'closed'
    socket.on('data', (bytes) => reader.read(bytes))
    socket.on('error', ({ code = 'closed' }: NodeJS.ErrnoException) => {
      problem = code === 'ECONNREFUSED' ? 'not accepted' : 'closed'
    })
    this.#closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.isClosed = true
        if (!this.#leaves) count(problem)
        this.#answered()
        resolve()
      })
    })
  }

  /** Sends requests at once; until all are answered, or the connection is closed. */
  ask(requests: readonly Buffer[]): Promise<void> {
    return new Promise((resolve) => {
      this.#answers = 0
      this.#answered = () => {
        if (this.#answers >= requests.length || this.isClosed) resolve()
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

  /** Stops sending once an answer comes. */
  async pour({ head, piece, pieces, tail }: LongBody): Promise<void> {
    this.#answers = 0
    const answered = new Promise<void>((resolve) => {
      this.#answered = resolve
    })
    const goesOn = () => !this.isClosed && this.#answers === 0
    this.socket.write(head)
    for (let sent = 0; sent < pieces && goesOn(); sent++)
      if (!this.socket.write(piece)) {
        const drained = new Promise<void>((resolve) => this.socket.once('drain', resolve))
        await Promise.race([drained, answered])
      }
    if (goesOn()) this.socket.write(tail)
    await answered
    this.#leaves = true
    this.socket.destroy()
    await this.#closed
  }

  async leave(request: Buffer, afterMs: number): Promise<void> {
    this.#leaves = true
    this.socket.write(request)
    await pause(afterMs)
    this.socket.resetAndDestroy()
    await this.#closed
  }
}
