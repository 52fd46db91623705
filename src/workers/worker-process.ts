// One HTTP worker, as the primary process sees it.

import cluster, { type Worker } from 'node:cluster'
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { fileURLToPath } from 'node:url'
import type { Snapshot } from '../http/merged-metrics.js'
import { Problem } from '../problem.js'
import { afterRunning } from '../running-time.js'
import type { CollectedTexts } from '../suggestions/text-buffer.js'
import type { ShadowCount } from '../tasks/shadows.js'
import { recoverConnections } from './handoff.js'
import { type FromWorker, inferenceFd, type ToWorker } from './messages.js'

const program = fileURLToPath(new URL('./worker.js', import.meta.url))

/** A worker that has sent nothing for this long hangs and is killed, in milliseconds. Workers report every second. */
const silenceMs = 30_000

/** Threads of a worker that tokenise. With fewer of them, each is woken up less often. */
const poolThreads = 2

export class WorkerProcess {
  readonly startedAt = performance.now()
  /** Resolves with the address. Rejects if the worker ends before it listens. */
  readonly listening: Promise<string>
  /** Resolves once the model is loaded. Rejects if the worker ends before. */
  readonly loaded: Promise<void>
  /** Resolves with the reason once the process has ended. */
  readonly ended: Promise<Error>
  /** The last report. */
  metrics: Snapshot = []
  connections = 0
  onShadows: (counts: readonly ShadowCount[]) => void = () => {}
  /** Receives texts that are to be kept, and how many the worker has dropped. */
  onTexts: (collected: readonly CollectedTexts[], dropped: number) => void = () => {}
  readonly #worker: Worker
  readonly #waiting: { listening?: (address: string) => void; loaded?: () => void } = {}
  readonly #reported = new Set<() => void>()
  /** Messages for a worker that cannot receive them yet. */
  #early: ToWorker[] | undefined = []
  #failure: Error | undefined
  #cancelSilence = (): void => {}

  /** @param writeLines writes whole lines of its log */
  constructor(writeLines: (lines: string) => void) {
    // This process accepts connections and hands them out in turn, which takes it 80 µs each. If the workers accepted them
    // themselves, some would get many times as many as others.
    cluster.schedulingPolicy = cluster.SCHED_RR
    cluster.setupPrimary({
      exec: program,
      args: [],
      serialization: 'advanced',
      stdio: ['ignore', 'pipe', 'inherit', 'ipc', 'pipe'],
    })
    const worker = cluster.fork({ UV_THREADPOOL_SIZE: process.env.UV_THREADPOOL_SIZE ?? poolThreads })
    this.#worker = worker
    recoverConnections(worker)
    this.ended = once(worker, 'exit').then(([code, signal]) => this.#end(code, signal))
    this.listening = this.#unlessEnded(
      new Promise((resolve) => {
        this.#waiting.listening = resolve
      }),
    )
    this.loaded = this.#unlessEnded(
      new Promise((resolve) => {
        this.#waiting.loaded = resolve
      }),
    )
    worker.process.stdout?.on('data', inWholeLines(writeLines))
    worker.on('message', (message: FromWorker) => this.#receive(message))
    // The exit follows.
    worker.on('error', () => {})
    this.#expectMessage()
  }

  /** To the worker's inference. */
  get inference(): Duplex {
    return this.#worker.process.stdio[inferenceFd] as Duplex
  }

  get pid(): number | undefined {
    return this.#worker.process.pid
  }

  tell(message: ToWorker): void {
    if (this.#early) this.#early.push(message)
    else if (this.#worker.isConnected()) this.#worker.send(message)
  }

  /** Asks for a report. Resolves once it is there, or the process has ended. */
  async report(): Promise<void> {
    const reported = new Promise<void>((resolve) => this.#reported.add(resolve))
    this.tell({ kind: 'report' })
    await Promise.race([reported, this.ended])
  }

  kill(): void {
    this.#worker.process.kill('SIGKILL')
  }

  #receive(message: FromWorker): void {
    this.#expectMessage()
    switch (message.kind) {
      case 'up': {
        const early = this.#early ?? []
        this.#early = undefined
        for (const each of early) this.tell(each)
        break
      }
      case 'listening':
        this.#waiting.listening?.(message.address)
        break
      case 'loaded':
        this.#waiting.loaded?.()
        break
      case 'failed':
        this.#failure =
          message.code === undefined ? new Error(message.message) : new Problem(message.code, message.message)
        break
      case 'texts':
        this.onTexts(message.collected, message.dropped)
        break
      case 'metrics':
        this.metrics = message.metrics
        this.connections = message.connections
        this.onShadows(message.shadows)
        for (const resolve of this.#reported) resolve()
        this.#reported.clear()
    }
  }

  #expectMessage(): void {
    this.#cancelSilence()
    this.#cancelSilence = afterRunning(silenceMs, () => {
      this.#failure = new Error(`an HTTP worker hung: it sent nothing for ${silenceMs / 1000} s`)
      this.kill()
    })
  }

  #end(code: number | null, signal: string | null): Error {
    this.#cancelSilence()
    const how = signal === null ? `it exited with code ${code}` : `it was ended by ${signal}`
    return this.#failure ?? new Error(`an HTTP worker has ended: ${how}`)
  }

  #unlessEnded<T>(result: Promise<T>): Promise<T> {
    const ended = this.ended.then((reason) => {
      throw reason
    })
    const first = Promise.race([result, ended])
    // Not every worker is waited for.
    first.catch(() => {})
    return first
  }
}

/** What a killed process has left of a line is not written. */
function inWholeLines(write: (lines: string) => void): (piece: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0)
  return (piece) => {
    const all = rest.length === 0 ? piece : Buffer.concat([rest, piece])
    const end = all.lastIndexOf('\n') + 1
    rest = all.subarray(end)
    if (end > 0) write(all.toString('utf8', 0, end))
  }
}
