// A server whose memory can be looked at from outside: asked for it, it collects its garbage and tells what is left.
// Runs as a forked process with --expose-gc.

import { setTimeout as pause } from 'node:timers/promises'
import { pino } from 'pino'
import { readConfig } from '../../src/config.js'
import { type Server, startServer } from '../../src/server.js'

export type ResidueMessage = { readonly start: string } | { readonly collect: true } | { readonly stop: true }

export interface Held {
  /** Bytes of the event loop's thread. */
  readonly heap: number
  readonly external: number
  readonly resident: number
}

/** What one collection frees others may find free: weak references, finalisers, buffers of closed connections. */
const collections = 4
const betweenMs = 100

let server: Server | undefined

// Nobody is left to stop it.
process.on('disconnect', () => process.exit())
process.on('message', (message: ResidueMessage) => {
  void answer(message).then((found) => process.send?.(found))
})

/** @returns the server's address, what it holds, or nothing */
async function answer(message: ResidueMessage): Promise<string | Held> {
  if ('start' in message) {
    const config = readConfig({ port: '0', provider: 'cpu', dataDir: message.start }, {})
    // Log lines are written, as they would be, but to nowhere.
    server = await startServer(config, pino({ level: 'info' }, { write: () => {} }))
    return server.address
  }
  if ('collect' in message) return collected()
  await server?.close()
  return ''
}

async function collected(): Promise<Held> {
  if (globalThis.gc === undefined) throw new Error('the process runs without --expose-gc')
  for (let done = 0; done < collections; done++) {
    globalThis.gc()
    await pause(betweenMs)
  }
  const { heapUsed, external, rss } = process.memoryUsage()
  return { heap: heapUsed, external, resident: rss }
}
