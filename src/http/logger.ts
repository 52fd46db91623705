// Logs: readable lines on a terminal, JSON elsewhere.

import { type Logger, pino } from 'pino'
import pretty from 'pino-pretty'
import type { Config } from '../config.js'

export function createLogger(level: Config['logLevel'], terminal: boolean): Logger {
  const options = { level, timestamp: pino.stdTimeFunctions.isoTime }
  if (!terminal) return pino(options)
  return pino(
    options,
    pretty({ sync: true, colorize: true, translateTime: 'SYS:HH:MM:ss.l', singleLine: true, ignore: 'pid,hostname' }),
  )
}
