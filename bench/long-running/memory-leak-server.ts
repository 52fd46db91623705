// A server that reports its memory after a garbage collection on request. Runs as a forked process with --expose-gc.

import { setTimeout as pause } from 'node:timers/promises'
import { pino } from 'pino'
import { readConfig } from '../../src/config.js'
import { type Server, startServer } from '../../src/server.js'

export type LeakServerMessage = { readonly start: string } | { readonly collect: true } | { readonly stop: true }

/** In bytes. */
export interface MemoryUse {
  /** Heap of the main thread. */
  readonly heap: number
  readonly external: number
  readonly resident: number
}

/** One collection can make more memory collectable: weak references, finalisers, buffers of closed connections. */
const collections = 4
const betweenMs = 100

let server: Server | undefined

process.on('disconnect', () => process.exit())
process.on('message', (message: LeakServerMessage) => {
  void handle(message).then((result) => process.send?.(result))
})

/** @returns the address of the server, its memory, or an empty string after it stopped */
async function handle(message: LeakServerMessage): Promise<string | MemoryUse> {
  if ('start' in message) {
    const config = readConfig({ port: '0', provider: 'cpu', dataDir: message.start }, {})
    // Log lines are formatted as usual, and discarded.
    server = await startServer(config, pino({ level: 'info' }, { write: () => {} }))
    return server.address
  }
  if ('collect' in message) return memoryAfterCollection()
  await server?.close()
  return ''
}

async function memoryAfterCollection(): Promise<MemoryUse> {
  if (globalThis.gc === undefined) throw new Error('the process was started without --expose-gc')
  for (let done = 0; done < collections; done++) {
    globalThis.gc()
    await pause(betweenMs)
  }
  const { heapUsed, external, rss } = process.memoryUsage()
  return { heap: heapUsed, external, resident: rss }
}
