// A peer in a process of its own, and how far it is let grow.

import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { residentBytes } from '../support/process.js'
import type { Grown, Loaded, Logits, PeerRequest, PeerText } from './protocol.js'

/** A peer may take this share of the memory that is free when it starts to grow. */
const memoryShare = 0.5
/** It may take so long to take on the tasks of one size. */
const growthSeconds = 180
/** What tasks cost is projected once so many of a size were taken on. */
const projectedFrom = 15

export type Growth =
  | { readonly fits: true }
  | {
      readonly fits: false
      /** What the tasks would take that it did not take on. */
      readonly why: 'memory' | 'time'
      /** Resident memory that so many tasks would take, in bytes, as it grew so far. */
      readonly bytesAt: (tasks: number) => number
      /** Time that so many tasks would take until they answer, in seconds, as it went so far. */
      readonly secondsAt: (tasks: number) => number
    }

export class PeerProcess {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>
  readonly #lines: AsyncIterator<string>
  readonly #failure: Promise<never>
  #tasks = 0

  constructor(
    readonly command: string,
    readonly parameters: readonly string[],
  ) {
    this.#child = spawn(command, parameters, { stdio: ['pipe', 'pipe', 'inherit'] })
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]()
    this.#failure = once(this.#child, 'error').then(([error]) => {
      throw new Error(`${command} did not start: ${(error as Error).message}`)
    })
    // It is told to whoever waits for an answer, and may come before anyone does.
    this.#failure.catch(() => {})
    // A write to a peer that has ended fails too; what is told is that it ended.
    this.#child.stdin.on('error', () => {})
  }

  get bytes(): number {
    return residentBytes(this.#child.pid).all
  }

  /** Takes on tasks until there are `tasks`. It is ended as soon as they would take too much memory or time. */
  async grow(tasks: number): Promise<Growth> {
    const before = this.#tasks
    const budget = availableBytes() * memoryShare + (before > 0 ? this.bytes : 0)
    const begun = performance.now()
    let first: { readonly bytes: number; readonly tasks: number } | undefined
    this.#send({ grow: tasks })
    while (this.#tasks < tasks) {
      this.#tasks = (await this.#receive<Grown>()).tasks
      const now = { bytes: this.bytes, tasks: this.#tasks }
      first ??= now
      const grown = now.tasks - first.tasks
      if (grown < projectedFrom) continue
      const bytesOfTask = (now.bytes - first.bytes) / grown
      const secondsOfTask = (performance.now() - begun) / 1000 / (now.tasks - before)
      const bytesAt = (count: number) => now.bytes + bytesOfTask * (count - now.tasks)
      const secondsAt = (count: number) => secondsOfTask * (count - before)
      const why = bytesAt(tasks) > budget ? 'memory' : secondsAt(tasks) > growthSeconds ? 'time' : undefined
      if (why === undefined) continue
      await this.stop()
      return { fits: false, why, bytesAt, secondsAt }
    }
    return { fits: true }
  }

  async logits(texts: readonly PeerText[]): Promise<readonly (readonly number[])[]> {
    this.#send({ logits: texts })
    return (await this.#receive<Logits>()).logits
  }

  async load(texts: readonly PeerText[], clients: number): Promise<Loaded> {
    this.#send({ load: texts, clients })
    return this.#receive<Loaded>()
  }

  /** Ends it, whatever it is doing. */
  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exit = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await exit
  }

  #send(request: PeerRequest): void {
    this.#child.stdin.write(`${JSON.stringify(request)}\n`)
  }

  async #receive<Answer>(): Promise<Answer> {
    const { value, done } = await Promise.race([this.#lines.next(), this.#failure])
    if (done) throw new Error(`${this.command} ${this.parameters.join(' ')} ended before it answered`)
    return JSON.parse(value) as Answer
  }
}

/** Memory that processes may still take without swapping, in bytes. */
const availableBytes = (): number =>
  Number(/^MemAvailable:\s+(\d+) kB/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]) * 1024
