// A peer in a process of its own, and how far it is let grow.

import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { residentBytes } from '../process.js'
import type { Grown, Loaded, Logits, PeerRequest, PeerText } from './protocol.js'

/** A peer may take this share of the memory that is free when it starts to grow. */
const memoryShare = 0.5
/** It may take so long to take on the tasks of one size. */
const growthSeconds = 180
/** What tasks cost is projected once so many of a size were taken on. */
const projectedFrom = 15

export type Growth =
  | { readonly fits: true }
  | { readonly fits: false; readonly bytes: number; readonly seconds: number; readonly why: 'memory' | 'time' }

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
      throw error
    })
    // A write to a peer that has ended fails too; what is told is that it ended.
    this.#child.stdin.on('error', () => {})
  }

  get bytes(): number {
    return residentBytes(this.#child.pid).all
  }

  /** Takes on tasks until there are `tasks`, or gives up as soon as what is left would take too much memory or time. */
  async grow(tasks: number): Promise<Growth> {
    const budget = availableBytes() * memoryShare + (this.#tasks > 0 ? this.bytes : 0)
    const begun = performance.now()
    const before = this.#tasks
    let first: { readonly bytes: number; readonly tasks: number } | undefined
    this.#send({ grow: tasks })
    while (this.#tasks < tasks) {
      this.#tasks = (await this.#receive<Grown>()).tasks
      const bytes = this.bytes
      first ??= { bytes, tasks: this.#tasks }
      const grown = this.#tasks - first.tasks
      if (grown < projectedFrom) continue
      const left = tasks - this.#tasks
      const seconds = ((performance.now() - begun) / 1000 / (this.#tasks - before)) * (tasks - before)
      const projected = bytes + (Math.max(0, bytes - first.bytes) / grown) * left
      if (projected > budget) return { fits: false, bytes: projected, seconds, why: 'memory' }
      if (seconds > growthSeconds) return { fits: false, bytes: projected, seconds, why: 'time' }
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
