// Logs: readable lines on a terminal, JSON elsewhere.

import { write, writeSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { type Logger, pino } from 'pino'
import pretty from 'pino-pretty'
import type { Config } from '../config.js'

export interface Log {
  readonly logger: Logger
  /** A fatal line as it would be written, but with `<time>` in the place of the time; undefined where none would be. */
  lineOf(fields: object, message: string): string | undefined
  /** Before the process ends: resolves once the lines so far are written, or cannot be. */
  flush(): Promise<void>
}

export function openLog(level: Config['logLevel'], terminal: boolean): Log {
  const options = { level, timestamp: pino.stdTimeFunctions.isoTime }
  if (terminal)
    return {
      logger: pino(options, onTerminal()),
      lineOf: (_fields, message) => (level === 'silent' ? undefined : `${message}\n`),
      flush: async () => {},
    }
  const output = new LineWriter(1)
  return {
    logger: pino(options, output),
    lineOf(fields, message) {
      let line: string | undefined
      const write = (text: string) => {
        line = text
      }
      pino({ level, timestamp: () => ',"time":"<time>"' }, { write }).fatal(fields, message)
      return line
    },
    flush: () => output.flush(),
  }
}

const onTerminal = () =>
  pretty({ sync: true, colorize: true, translateTime: 'SYS:HH:MM:ss.l', singleLine: true, ignore: 'pid,hostname' })

/** Characters of lines that may wait while whoever reads the log does not. Further lines are lost. */
const maxWaiting = 1024 * 1024
/** How long the last lines may take, in milliseconds. */
const flushWithinMs = 200
/** Between attempts to write to a pipe that is full and does not block, in milliseconds. */
const retryMs = 10

const writeBytes = promisify(write)

/**
 * Writes lines in the background, in their order. A log whose disk is full, or that nobody reads, must not stop the
 * server. pino's own writer would try for ever to write the last lines to a full disk.
 */
class LineWriter {
  #waiting: string[] = []
  #waitingChars = 0
  #writing: Promise<void> | undefined

  constructor(readonly file: number) {}

  write(line: string): void {
    if (this.#waitingChars + line.length > maxWaiting) return
    this.#waiting.push(line)
    this.#waitingChars += line.length
    this.#writing ??= this.#writeAll()
  }

  /** Where the thread pool hangs, what is left is written on this thread. */
  async flush(): Promise<void> {
    await Promise.race([this.#writing, delay(flushWithinMs, undefined, { ref: false })])
    try {
      writeSync(this.file, this.#take())
    } catch {
      // It cannot be said anywhere else.
    }
  }

  async #writeAll(): Promise<void> {
    while (this.#waiting.length > 0) {
      let bytes = Buffer.from(this.#take())
      while (bytes.length > 0) bytes = bytes.subarray(await this.#writeSome(bytes))
    }
    this.#writing = undefined
  }

  #take(): string {
    const text = this.#waiting.join('')
    this.#waiting = []
    this.#waitingChars = 0
    return text
  }

  /** @returns how many bytes need not be written again */
  async #writeSome(bytes: Buffer): Promise<number> {
    try {
      return (await writeBytes(this.file, bytes)).bytesWritten
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return bytes.length
      await delay(retryMs)
      return 0
    }
  }
}
