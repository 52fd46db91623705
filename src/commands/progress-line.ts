// Shows the progress of training or predicting: one line that is rewritten on a terminal, else a new line from time to time.

import type { Progress } from '../learn/run-progress.js'
import type { StartProgress } from '../learn/starting-point.js'

/** Without a terminal, at most one line in this many milliseconds. */
const pauseMs = 10_000

export class ProgressLine {
  #last = Number.NEGATIVE_INFINITY
  #open = false

  constructor(readonly stream: NodeJS.WriteStream) {}

  /** @param format makes the whole line from the sentence about the progress */
  show(progress: Progress, format = (sentence: string) => sentence): void {
    this.#rewrite(format(sentence(progress)), progress.step === progress.steps)
  }

  reading(path: string, rows: number): void {
    this.#rewrite(`reading ${path}: ${formatCount(rows)} rows`, false)
  }

  comparing({ what, done, all }: StartProgress): void {
    this.#rewrite(`fitting heads: ${formatCount(done)} of ${formatCount(all)} ${what}`, false)
  }

  downloading(name: string, done: number, total: number): void {
    const megabytes = (bytes: number) => (bytes / 1e6).toFixed(1)
    this.#rewrite(`downloading ${name}: ${megabytes(done)} of ${megabytes(total)} MB`, done === total)
  }

  /** @param elapsedMs time that the `done` rows took */
  predicting(done: number, rows: number, elapsedMs: number): void {
    const left = duration((elapsedMs / done) * (rows - done))
    this.#rewrite(
      `${formatCount(done)} of ${formatCount(rows)} rows predicted, ${rowRate(done, elapsedMs)}, ${left} left`,
      done === rows,
    )
  }

  /** Prints a line that stays. */
  print(line: string): void {
    this.stream.write(`${this.#open ? '\r\x1b[2K' : ''}${line}\n`)
    this.#open = false
  }

  /** Removes the line that is being rewritten. */
  end(): void {
    if (this.#open) this.stream.write('\r\x1b[2K')
    this.#open = false
  }

  #rewrite(line: string, isLast: boolean): void {
    const now = performance.now()
    if (this.stream.isTTY) {
      this.stream.write(`\r\x1b[2K${line}`)
      this.#open = true
    } else if (now - this.#last >= pauseMs || isLast) {
      this.stream.write(`${line}\n`)
      this.#last = now
    }
  }
}

const formatCount = (value: number) => value.toLocaleString('en-US')

export const rowRate = (rows: number, ms: number): string => {
  const rate = (1000 * rows) / ms
  return `${rate < 10 ? rate.toFixed(1) : formatCount(Math.round(rate))} rows/s`
}

const sentence = ({ step, steps, loss, best, comparedBy, millisecondsLeft }: Progress): string =>
  [
    `step ${step} of ${steps}`,
    `loss ${loss.toFixed(4)}`,
    `best ${comparedBy} ${best === undefined ? 'not known yet' : best.toFixed(4)}`,
    `${duration(millisecondsLeft)} left`,
  ].join(', ')

export function duration(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1000)
  const minutes = Math.floor(seconds / 60)
  if (minutes === 0) return `${seconds} s`
  return minutes < 60 ? `${minutes} min ${seconds % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}
