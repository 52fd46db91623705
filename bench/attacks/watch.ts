// Watches a server from outside while it is attacked: its memory, how long its liveness is silent, whether it lives.

import { setTimeout as pause } from 'node:timers/promises'
import { Connection } from '../support/connection.js'
import { residentBytes, type ServerProcess } from '../support/process.js'

const probeEveryMs = 20
/** An orchestrator probes over a new connection each time; most of ours keep theirs, to cost little. */
const probesPerConnection = 50
/** A probe that is not answered within this time is made again over another connection. */
const patienceMs = 10_000
/** A server has recovered once every probe of a second was answered within this time. */
const [recoveredMs, promptMs] = [1_000, 100]
/** It is not waited for longer than this. */
const recoveryMs = 30_000

const memoryEveryMs = 10

export interface Seen {
  /**
   * Most resident memory without the pages of the task database, which the kernel takes back when others need them:
   * what is anonymous, and the pages of files that were there when the server was ready.
   */
  readonly peakBytes: number
  /** Most resident memory of all pages. */
  readonly peakOfAllBytes: number
  /** Longest time from a probe to the next answer of /health/live. */
  readonly silenceMs: number
  /** Signal or exit code, if the process ended. */
  readonly end: string | undefined
}

export class Watch {
  readonly #fileBytes: number
  #peakBytes = 0
  #peakOfAllBytes = 0
  #silenceMs = 0
  /** When the first probe was sent that is not answered. */
  #unansweredSince: number | undefined
  /** When a probe was last answered late. */
  #lateAt = 0
  #end: string | undefined
  #stopped = false
  /** Resolves when the server's process ends. */
  readonly ended: Promise<'ended'>

  constructor(readonly server: ServerProcess) {
    this.#fileBytes = residentBytes(server.process.pid).file
    this.ended = new Promise((resolve) => {
      server.process.once('exit', (code, signal) => {
        // The shell that a server may be started by gives the signal as a code above 128.
        this.#end = signal ?? `exit code ${code}`
        resolve('ended')
      })
    })
    void this.#probe()
  }

  /** What was seen until now. */
  stop(): Seen {
    this.#stopped = true
    this.#noteSilence()
    return {
      peakBytes: this.#peakBytes,
      peakOfAllBytes: this.#peakOfAllBytes,
      silenceMs: this.#silenceMs,
      end: this.#end,
    }
  }

  get isEnded(): boolean {
    return this.#end !== undefined
  }

  /** Until the server is done with what it was sent. */
  async recovered(): Promise<void> {
    const start = performance.now()
    this.#lateAt = start
    for (let now = start; now - start < recoveryMs && !this.isEnded; now = performance.now()) {
      if (now - (this.#unansweredSince ?? now) > promptMs) this.#lateAt = now
      if (now - this.#lateAt > recoveredMs) return
      await pause(probeEveryMs)
    }
  }

  async #probe(): Promise<void> {
    const { hostname, port, host } = new URL(this.server.url)
    const request = `GET /health/live HTTP/1.1\r\nhost: ${host}\r\n\r\n`
    const memory = setInterval(() => this.#noteMemory(), memoryEveryMs)
    let connection = new Connection(hostname, Number(port))
    for (let probes = 1; !this.#stopped && !this.isEnded; probes++) {
      this.#unansweredSince ??= performance.now()
      const impatience = new AbortController()
      const { status } = await Promise.race([
        connection.ask(request),
        pause(patienceMs, { status: 'no answer' }, { signal: impatience.signal }),
        this.ended.then(() => ({ status: 'ended' })),
      ])
      impatience.abort()
      if (this.#stopped || this.isEnded) break
      if (status === '200') {
        this.#noteSilence()
        this.#unansweredSince = undefined
      }
      if (status !== '200' || probes % probesPerConnection === 0) {
        connection.close()
        connection = new Connection(hostname, Number(port))
      }
      await pause(probeEveryMs)
    }
    connection.close()
    clearInterval(memory)
  }

  #noteSilence(): void {
    if (this.#unansweredSince === undefined) return
    const now = performance.now()
    const silenceMs = now - this.#unansweredSince
    this.#silenceMs = Math.max(this.#silenceMs, silenceMs)
    if (silenceMs > promptMs) this.#lateAt = now
  }

  #noteMemory(): void {
    if (this.isEnded) return
    try {
      const { peak, anonymous } = residentBytes(this.server.process.pid)
      // A process that ends has no memory any more.
      if (Number.isNaN(peak)) return
      this.#peakBytes = Math.max(this.#peakBytes, anonymous + this.#fileBytes)
      this.#peakOfAllBytes = Math.max(this.#peakOfAllBytes, peak)
    } catch {
      // It has ended, and its exit is not told yet.
    }
  }
}
