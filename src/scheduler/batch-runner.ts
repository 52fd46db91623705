// Runs a batch on an engine. If the batch fails, it is split until the rows at fault are found.

import type { BatchResult } from '../engine/engine.js'
import { EngineLost } from '../engine/engine-lost.js'
import type { Clock } from './clock.js'
import type { CostModel } from './cost.js'
import type { EngineState } from './engine-state.js'
import { type QueuedRow, textFailsEngines } from './queued-row.js'
import { SuspectTexts } from './suspect-texts.js'

/** What the metrics need to know about a batch. */
export interface BatchReport extends Omit<BatchResult, 'rows'> {
  readonly rows: number
  readonly tasks: number
  /** How long each row waited, in milliseconds. */
  readonly waitsMs: readonly number[]
}

export interface BatchRunnerParts {
  readonly cost: CostModel
  readonly clock: Clock
  /** A batch with a row of more tokens is long. */
  readonly longRowTokens: number
  /** Drops a row whose deadline has passed. */
  readonly drop: (row: QueuedRow) => void
  /** Called when an engine can take another batch. */
  readonly onFree: () => void
}

type Rows = readonly QueuedRow[]

export class BatchRunner {
  readonly #parts: BatchRunnerParts
  readonly #suspects = new SuspectTexts()
  onBatch: (report: BatchReport) => void = () => {}
  /** Called with the number of texts that are rejected from now on, because engines were lost with them. */
  onTextsRejected: (texts: number) => void = () => {}

  constructor(parts: BatchRunnerParts) {
    this.#parts = parts
  }

  /** Whether the text is rejected, because engines were lost with it. */
  rejects({ engineRow }: Pick<QueuedRow, 'engineRow'>): boolean {
    return this.#suspects.isRejected(engineRow)
  }

  /**
   * Runs a batch. If the engine cannot compute it, its halves run one after the other, until each row at fault runs alone:
   * at most 2n − 1 runs for n rows. Texts with which an engine was lost run alone from the start. The engine takes other
   * batches between two parts.
   */
  async run(engine: EngineState, batch: Rows): Promise<void> {
    const suspects = batch.filter(({ engineRow }) => this.#suspects.isSuspect(engineRow))
    const others = suspects.length === 0 ? batch : batch.filter((row) => !suspects.includes(row))
    const parts: Rows[] = [...suspects.map((row) => [row]), others]
    let isFirst = true
    for (let part = parts.pop(); part !== undefined; part = parts.pop()) {
      const rows = this.#stillWanted(part)
      if (rows.length === 0) continue
      const running = this.#runOnce(engine, rows)
      // The caller looks for further work itself when the first part is sent.
      if (!isFirst) this.#parts.onFree()
      isFirst = false
      const fault = await running
      if (fault === undefined) continue
      const middle = rows.length >> 1
      if (rows.length > 1) parts.push(rows.slice(middle), rows.slice(0, middle))
      else for (const row of rows) row.request.fail(fault)
    }
    this.#parts.onFree()
  }

  /** @returns the error if at least one of the rows cannot be computed */
  async #runOnce(engine: EngineState, rows: Rows): Promise<Error | undefined> {
    const { clock, cost, longRowTokens } = this.#parts
    const startedAt = clock.now()
    const pausedMs = clock.pausedMs()
    const tokens = rows.reduce((sum, row) => sum + row.tokens, 0)
    const longest = rows.reduce((most, row) => Math.max(most, row.tokens), 0)
    engine.batchSent(startedAt, cost.batchMs(tokens), longest > longRowTokens)
    for (const row of rows) row.started = true
    try {
      const { rows: results, ...figures } = await engine.runner.run(rows.map((row) => row.engineRow))
      engine.batchEnded(clock.now(), 'computed')
      if (clock.pausedMs() === pausedMs) cost.observe({ tokens, ms: figures.runMs })
      for (const { engineRow } of rows) this.#suspects.clear(engineRow)
      rows.forEach((row, index) => {
        const result = results[index]
        if (result) row.request.complete(row.index, result)
        else row.request.fail(new Error('the engine returned no result for a row'))
      })
      this.onBatch({
        ...figures,
        rows: rows.length,
        tasks: new Set(rows.map((row) => row.maskKey)).size,
        waitsMs: rows.map((row) => startedAt - row.since),
      })
      return undefined
    } catch (error) {
      const lost = error instanceof EngineLost
      engine.batchEnded(clock.now(), lost ? 'engine_lost' : 'row_failed')
      if (!lost) return error as Error
      if (error.started) {
        const rejected = this.#suspects.recordLoss(rows.map(({ engineRow }) => engineRow))
        if (rejected > 0) this.onTextsRejected(rejected)
      }
      for (const row of rows) row.request.fail(error)
      return undefined
    }
  }

  /** The rows that are still to be computed. Of the others, late rows are dropped, and rejected texts fail. */
  #stillWanted(rows: Rows): Rows {
    const now = this.#parts.clock.now()
    const wanted = rows.filter((row) => {
      if (row.request.failed) return false
      if (this.rejects(row)) row.request.fail(textFailsEngines())
      else if (row.deadline > now) return true
      else this.#parts.drop(row)
      return false
    })
    return wanted.length === rows.length ? rows : wanted
  }
}
