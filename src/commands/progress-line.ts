// One line that tells how far a learning run is: rewritten in place on a terminal, a line now and then elsewhere.

import type { Progress } from '../learn/training.js'

/** Without a terminal: at most one line in so many milliseconds. */
const pause = 10_000

export class ProgressLine {
  #last = Number.NEGATIVE_INFINITY
  #open = false

  constructor(readonly stream: NodeJS.WriteStream) {}

  /** @param framed puts the sentence about the progress into a longer one */
  show(progress: Progress, framed = (sentence: string) => sentence): void {
    this.#tell(framed(sentence(progress)), progress.step === progress.steps)
  }

  reading(path: string, rows: number): void {
    this.#tell(`reading ${path}: ${count(rows)} rows`, false)
  }

  /** @param what is being done with rows, as a participle */
  rows(what: string, done: number, all: number): void {
    this.#tell(`${what}: ${count(done)} of ${count(all)} rows`, false)
  }

  /** A line of its own. */
  print(line: string): void {
    this.stream.write(`${this.#open ? '\r\x1b[2K' : ''}${line}\n`)
    this.#open = false
  }

  /** Takes the line away where it is still open. */
  end(): void {
    if (this.#open) this.stream.write('\r\x1b[2K')
    this.#open = false
  }

  #tell(what: string, last: boolean): void {
    const now = performance.now()
    if (this.stream.isTTY) {
      this.stream.write(`\r\x1b[2K${what}`)
      this.#open = true
    } else if (now - this.#last >= pause || last) {
      this.stream.write(`${what}\n`)
      this.#last = now
    }
  }
}

const count = (value: number) => value.toLocaleString('en-US')

const sentence = ({ step, steps, loss, best, millisecondsLeft }: Progress): string =>
  [
    `step ${step} of ${steps}`,
    `loss ${loss.toFixed(4)}`,
    `best dev score ${best === undefined ? 'not yet' : best.toFixed(4)}`,
    `${duration(millisecondsLeft)} left`,
  ].join(', ')

export function duration(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1000)
  const minutes = Math.floor(seconds / 60)
  if (minutes === 0) return `${seconds} s`
  return minutes < 60 ? `${minutes} min ${seconds % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}
