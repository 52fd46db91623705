// Monitors a server from outside during an attack: its memory, the response times of its liveness, and its exit.

import { setTimeout as pause } from 'node:timers/promises'
import { Connection } from '../support/connection.js'
import { mainThreadTime, processMemory, type ServerProcess, type ThreadTime } from '../support/process.js'

const probeEveryMs = 20
/** An orchestrator opens a connection per probe. Here most probes reuse one, to use little processor time. */
const probesPerConnection = 50
/** A probe without a response within this time is repeated on a new connection. */
const probeTimeoutMs = 10_000
/** A server has recovered when all probes of a second had a response within 100 ms. */
const [recoveredMs, promptMs] = [1_000, 100]
/** Longest wait for the recovery. */
const recoveryMs = 30_000

const memoryEveryMs = 10

export interface Observations {
  /**
   * Peak of resident memory without the pages of the task database, which the kernel can reclaim: anonymous pages, and
   * the file-backed pages that were resident when the server was ready.
   */
  readonly peakBytes: number
  /** Peak of resident memory of all pages. */
  readonly peakOfAllBytes: number
  /** Longest time from a probe of /health/live to the next response. */
  readonly unresponsiveMs: number
  /** What the server's main thread did in that time; undefined where the kernel does not tell. */
  readonly unresponsive: ThreadTime | undefined
  /** Signal or exit code, if the process exited. */
  readonly end: string | undefined
}

export class ServerMonitor {
  readonly #fileBytes: number
  #peakBytes = 0
  #peakOfAllBytes = 0
  #unresponsiveMs = 0
  #unresponsive: ThreadTime | undefined
  /** When the oldest probe without a response was sent, and the time of the server's main thread then. */
  #pending: { readonly since: number; readonly time: ThreadTime | undefined } | undefined
  /** When a response was last late. */
  #lateAt = 0
  #end: string | undefined
  #stopped = false
  /** Resolves when the server's process exits. */
  readonly ended: Promise<'ended'>

  constructor(readonly server: ServerProcess) {
    this.#fileBytes = processMemory(server.process.pid).file
    this.ended = new Promise((resolve) => {
      server.process.once('exit', (code, signal) => {
        // A shell that started the server reports a signal as an exit code above 128.
        this.#end = signal ?? `exit code ${code}`
        resolve('ended')
      })
    })
    void this.#probe()
  }

  /** @returns the observations so far */
  stop(): Observations {
    this.#stopped = true
    this.#noteUnresponsive()
    return {
      peakBytes: this.#peakBytes,
      peakOfAllBytes: this.#peakOfAllBytes,
      unresponsiveMs: this.#unresponsiveMs,
      unresponsive: this.#unresponsive,
      end: this.#end,
    }
  }

  get isEnded(): boolean {
    return this.#end !== undefined
  }

  /** Resolves when the server has processed what the attack sent. */
  async recovered(): Promise<void> {
    const start = performance.now()
    this.#lateAt = start
    for (let now = start; now - start < recoveryMs && !this.isEnded; now = performance.now()) {
      if (now - (this.#pending?.since ?? now) > promptMs) this.#lateAt = now
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
      this.#pending ??= { since: performance.now(), time: mainThreadTime(this.server.process.pid) }
      const giveUp = new AbortController()
      const { status } = await Promise.race([
        connection.send(request),
        pause(probeTimeoutMs, { status: 'no response' }, { signal: giveUp.signal }),
        this.ended.then(() => ({ status: 'ended' })),
      ])
      giveUp.abort()
      if (this.#stopped || this.isEnded) break
      if (status === '200') {
        this.#noteUnresponsive()
        this.#pending = undefined
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

  #noteUnresponsive(): void {
    if (this.#pending === undefined) return
    const { since, time } = this.#pending
    const now = performance.now()
    const unresponsiveMs = now - since
    if (unresponsiveMs > promptMs) this.#lateAt = now
    if (unresponsiveMs <= this.#unresponsiveMs) return
    this.#unresponsiveMs = unresponsiveMs
    const after = mainThreadTime(this.server.process.pid)
    this.#unresponsive = time &&
      after && { runningMs: after.runningMs - time.runningMs, waitingMs: after.waitingMs - time.waitingMs }
  }

  #noteMemory(): void {
    if (this.isEnded) return
    try {
      const { peak, anonymous } = processMemory(this.server.process.pid)
      // A process that is exiting has no memory.
      if (Number.isNaN(peak)) return
      this.#peakBytes = Math.max(this.#peakBytes, anonymous + this.#fileBytes)
      this.#peakOfAllBytes = Math.max(this.#peakOfAllBytes, peak)
    } catch {
      // The process has exited, and its exit event is still to come.
    }
  }
}
