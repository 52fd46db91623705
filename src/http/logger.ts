// The log: readable lines on a terminal, JSON elsewhere.

import { write, writeSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { type Logger, pino } from 'pino'
import pretty from 'pino-pretty'
import type { Config } from '../config.js'

export interface Log {
  readonly logger: Logger
  /** Writes lines that another process of the server has logged, in JSON. */
  writeLines(lines: string): void
  /** A fatal line as the log would write it, with `<time>` instead of the time; undefined if the level is silent. */
  lineOf(fields: object, message: string): string | undefined
  /** Call it before the process ends. Resolves once all lines are written, or cannot be written. */
  flush(): Promise<void>
}

export function openLog(level: Config['logLevel'], terminal: boolean): Log {
  const options = { level, timestamp: pino.stdTimeFunctions.isoTime }
  if (terminal) {
    const output = onTerminal()
    return {
      logger: pino(options, output),
      writeLines: (lines) => void output.write(lines),
      lineOf: (_fields, message) => (level === 'silent' ? undefined : `${message}\n`),
      flush: async () => {},
    }
  }
  const output = new LineWriter(1)
  return {
    logger: pino(options, output),
    writeLines: (lines) => output.write(lines),
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

/** Most characters of unwritten lines, while nothing reads the log. Further lines are lost. */
const maxWaiting = 1024 * 1024
/** Timeout for writing the last lines, in milliseconds. */
const flushWithinMs = 200
/** Pause between attempts to write to a full pipe, in milliseconds. */
const retryMs = 10
/** Pause after a write, in milliseconds. Lines that arrive meanwhile are written together, which costs much less. */
const gatherMs = 10

const writeBytes = promisify(write)

/**
 * Writes lines in the background, in order. A full disk or a log that nothing reads must not stop the server. The writer of
 * pino would try forever to write the last lines to a full disk.
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

  /** If the thread pool hangs, this thread writes the rest. */
  async flush(): Promise<void> {
    await Promise.race([this.#writing, delay(flushWithinMs, undefined, { ref: false })])
    try {
      writeSync(this.file, this.#take())
    } catch {
      // There is no other place to report this.
    }
  }

  async #writeAll(): Promise<void> {
    while (this.#waiting.length > 0) {
      let bytes = Buffer.from(this.#take())
      while (bytes.length > 0) bytes = bytes.subarray(await this.#writeSome(bytes))
      await delay(gatherMs)
    }
    this.#writing = undefined
  }

  #take(): string {
    const text = this.#waiting.join('')
    this.#waiting = []
    this.#waitingChars = 0
    return text
  }

  /** @returns the number of bytes that need no further attempt */
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
