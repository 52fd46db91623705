// A peer in its own process, and the limits on how many tasks it may add.

import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { processMemory } from '../support/process.js'
import type { LoadResult, Logits, PeerRequest, PeerText, TaskAdded } from './protocol.js'

/** A peer may use this share of the memory that is free when it starts to add tasks. */
const memoryShare = 0.5
/** Most time to add the tasks of one size. */
const growthSeconds = 180
/** The costs of further tasks are projected after this number of tasks. */
const projectedFrom = 15

export type Growth =
  | { readonly fits: true }
  | {
      readonly fits: false
      /** Which limit the tasks would exceed. */
      readonly why: 'memory' | 'time'
      /** Projected resident memory with a number of tasks. */
      readonly bytesAt: (tasks: number) => number
      /** Projected time until a number of tasks is ready. */
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
    // #receive() reports this error; the catch only prevents an unhandledRejection.
    this.#failure.catch(() => {})
    // A write to a peer that has exited fails too. #receive() reports that the peer exited.
    this.#child.stdin.on('error', () => {})
  }

  /** Resident memory. */
  get bytes(): number {
    return processMemory(this.#child.pid).all
  }

  /** Adds tasks until there are `tasks`. Stops the peer as soon as they would need too much memory or time. */
  async grow(tasks: number): Promise<Growth> {
    const before = this.#tasks
    const budget = availableBytes() * memoryShare + (before > 0 ? this.bytes : 0)
    const start = performance.now()
    let first: { readonly bytes: number; readonly tasks: number } | undefined
    this.#send({ grow: tasks })
    while (this.#tasks < tasks) {
      this.#tasks = (await this.#receive<TaskAdded>()).tasks
      const now = { bytes: this.bytes, tasks: this.#tasks }
      first ??= now
      const added = now.tasks - first.tasks
      if (added < projectedFrom) continue
      const bytesPerTask = (now.bytes - first.bytes) / added
      const secondsPerTask = (performance.now() - start) / 1000 / (now.tasks - before)
      const bytesAt = (count: number) => now.bytes + bytesPerTask * (count - now.tasks)
      const secondsAt = (count: number) => secondsPerTask * (count - before)
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

  async load(texts: readonly PeerText[], clients: number): Promise<LoadResult> {
    this.#send({ load: texts, clients })
    return this.#receive<LoadResult>()
  }

  /** Kills the process. */
  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exit = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await exit
  }

  #send(request: PeerRequest): void {
    this.#child.stdin.write(`${JSON.stringify(request)}\n`)
  }

  async #receive<Response>(): Promise<Response> {
    const { value, done } = await Promise.race([this.#lines.next(), this.#failure])
    if (done) throw new Error(`${this.command} ${this.parameters.join(' ')} exited before it responded`)
    return JSON.parse(value) as Response
  }
}

/** Memory that is available without swapping. */
const availableBytes = (): number =>
  Number(/^MemAvailable:\s+(\d+) kB/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]) * 1024
