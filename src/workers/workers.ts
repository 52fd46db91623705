// The HTTP workers of a server: starts them, replaces those that end, and tells them what they need to know. Connections are
// handed to them in turn. The end of a worker ends only the connections that it had.

import type { Logger } from 'pino'
import type { Config } from '../config.js'
import type { CertificatePair } from '../http/certificate.js'
import { addCounts, type Snapshot } from '../http/merged-metrics.js'
import type { WorkerCounts } from '../http/services.js'
import type { InferenceHost } from '../inference/host.js'
import { within } from '../running-time.js'
import type { SharedFile } from '../store/store.js'
import type { ShadowCount } from '../tasks/shadows.js'
import type { ToWorker, WorkerModel, WorkerStart } from './messages.js'
import { WorkerProcess } from './worker-process.js'

/** Pause before an ended worker is replaced, in milliseconds. It doubles with each worker that did not live long. */
const retryMs = { first: 100, last: 10_000 }
/** A worker that has lived this long is replaced after the first pause again, in milliseconds. */
const longLifeMs = 60_000
/** How long GET /metrics waits for the workers, in milliseconds. After it, their last reports count. */
const reportWithinMs = 1_000
/** How long a stopping server still hands connections to its workers that are already established, in milliseconds. */
const takeWithinMs = 1_000

export interface WorkersOptions extends WorkerStart {
  readonly count: number
  /** Serves the workers' predictions. */
  readonly host: InferenceHost
  readonly logger: Logger
  /** Called with comparisons of candidates that a worker has made. */
  readonly onShadows: (counts: readonly ShadowCount[]) => void
  /** Writes lines of the workers' logs. */
  readonly writeLines: (lines: string) => void
  /** Receives texts that are to be kept. */
  readonly onTexts: WorkerProcess['onTexts']
}

export class Workers implements WorkerCounts {
  readonly #running = new Set<WorkerProcess>()
  #first: readonly WorkerProcess[] = []
  readonly #serving = new Set<WorkerProcess>()
  readonly #starts = new Set<NodeJS.Timeout>()
  /** What a worker gets that starts now. */
  #start: WorkerStart
  #model: WorkerModel | undefined
  #serves = false
  /** Whether workers that end are replaced. */
  #replaces = false
  #address: string | undefined
  #lost = 0
  #retryMs = retryMs.first
  /** What ended workers have counted. */
  #endedMetrics: Promise<Snapshot> = Promise.resolve([])

  constructor(readonly options: WorkersOptions) {
    const { count, host, logger, onShadows, onTexts, writeLines, ...start } = options
    const { config } = start
    this.#start = { ...start, config: { ...config, maxConnections: Math.ceil(config.maxConnections / count) } }
  }

  get configured(): number {
    return this.options.count
  }

  get available(): number {
    return this.#serving.size
  }

  get lost(): number {
    return this.#lost
  }

  /**
   * Starts all workers. Resolves with the address once all of them listen.
   * @throws Problem of the first worker that does not start; all of them have ended then
   */
  async listen(): Promise<string> {
    this.#first = Array.from({ length: this.options.count }, () => this.#startWorker())
    const [address = ''] = await this.#allOf(this.#first.map(({ listening }) => listening))
    this.#address = address
    return address
  }

  /**
   * Has the workers load the model. Resolves once all of them have. From then on, workers that end are replaced.
   * @throws Problem like `listen`
   */
  async load(model: WorkerModel): Promise<void> {
    this.#model = model
    this.#tell({ kind: 'load', model })
    await this.#allOf(this.#first.map(({ loaded }) => loaded))
    this.#replaces = true
  }

  /** From now on the workers predict. */
  serve(): void {
    this.#serves = true
    for (const worker of this.#running) this.#serveWith(worker)
  }

  useStore(store: SharedFile | undefined): void {
    this.#start = { ...this.#start, store }
    this.#tell({ kind: 'store', store })
  }

  useCertificate(pair: CertificatePair): void {
    this.#start = { ...this.#start, certificate: pair }
    this.#tell({ kind: 'certificate', pair })
  }

  setLogLevel(level: Config['logLevel']): void {
    this.#start = { ...this.#start, config: { ...this.#start.config, logLevel: level } }
    this.#tell({ kind: 'log_level', level })
  }

  /** The metrics of all workers. They are no older than the call, unless a worker does not respond. */
  async snapshots(): Promise<Snapshot[]> {
    const workers = [...this.#running]
    await within(reportWithinMs, Promise.all(workers.map((worker) => worker.report())))
    const ended = await this.#endedMetrics
    return [...Array.from(this.#running, ({ metrics }) => metrics), ended]
  }

  /** Has the workers finish accepted requests. Resolves once they have ended. */
  async stop(): Promise<void> {
    this.#stopReplacing()
    await within(takeWithinMs, this.#takeArrived())
    this.#tell({ kind: 'stop' })
    await this.#allEnded()
  }

  /** Ends the workers at once. */
  kill(): void {
    this.#stopReplacing()
    for (const worker of this.#running) worker.kill()
  }

  #startWorker(): WorkerProcess {
    const { config } = this.#start
    // With its last worker the server leaves the port, and has to find it again.
    if (this.#running.size === 0 && this.#address !== undefined && config.port === 0)
      this.#start = { ...this.#start, config: { ...config, port: Number(new URL(this.#address).port) } }
    const worker = new WorkerProcess(this.options.writeLines)
    worker.onShadows = this.options.onShadows
    worker.onTexts = this.options.onTexts
    this.#running.add(worker)
    this.options.host.serve(worker.inference, `HTTP worker ${worker.pid}`)
    worker.tell({ kind: 'start', start: this.#start })
    if (this.#model) worker.tell({ kind: 'load', model: this.#model })
    void worker.ended.then((reason) => this.#ended(worker, reason.message))
    return worker
  }

  #serveWith(worker: WorkerProcess): void {
    worker.tell({ kind: 'serve' })
    this.#serving.add(worker)
  }

  #ended(worker: WorkerProcess, reason: string): void {
    this.#running.delete(worker)
    this.#serving.delete(worker)
    this.#endedMetrics = this.#endedMetrics.then((sum) => addCounts(sum, worker.metrics))
    if (!this.#replaces) return
    this.#lost++
    if (performance.now() - worker.startedAt > longLifeMs) this.#retryMs = retryMs.first
    const pauseMs = this.#retryMs
    this.#retryMs = Math.min(2 * pauseMs, retryMs.last)
    const { logger } = this.options
    logger.error({ worker: worker.pid, reason, retry_ms: pauseMs }, 'an HTTP worker has ended; a new one is started')
    const timer = setTimeout(() => {
      this.#starts.delete(timer)
      void this.#replaceBy(this.#startWorker())
    }, pauseMs)
    this.#starts.add(timer)
  }

  async #replaceBy(worker: WorkerProcess): Promise<void> {
    try {
      await worker.loaded
    } catch {
      // It has ended, which is reported and retried.
      return
    }
    if (this.#serves) this.#serveWith(worker)
    this.options.logger.info({ worker: worker.pid }, 'a new HTTP worker has started')
  }

  #tell(message: ToWorker): void {
    for (const worker of this.#running) worker.tell(message)
  }

  #stopReplacing(): void {
    this.#replaces = false
    for (const timer of this.#starts) clearTimeout(timer)
  }

  /** Resolves when the workers get no further connections. This process accepts one in each turn of its event loop. */
  async #takeArrived(): Promise<void> {
    let before = Number.NaN
    for (let quietReports = 0; quietReports < 2; ) {
      const workers = [...this.#running]
      await Promise.all(workers.map((worker) => worker.report()))
      const taken = workers.reduce((sum, { connections }) => sum + connections, 0)
      quietReports = taken === before ? quietReports + 1 : 0
      before = taken
    }
  }

  async #allOf<T>(results: readonly Promise<T>[]): Promise<T[]> {
    try {
      return await Promise.all(results)
    } catch (error) {
      this.kill()
      await this.#allEnded()
      throw error
    }
  }

  async #allEnded(): Promise<void> {
    await Promise.all(Array.from(this.#running, ({ ended }) => ended))
  }
}
