// The engine's thread: it owns onnxruntime and the bank, and runs one batch after another.

import { parentPort, workerData } from 'node:worker_threads'
import { maxTokensOf } from '../backbones/families.js'
import { Problem } from '../problem.js'
import type { RunRequest, ThreadMessage, ThreadOptions } from './protocol.js'
import { openSession } from './providers.js'
import type { EngineSession } from './session.js'
import { timeBatches } from './warm-up.js'

const port = parentPort
if (port === null) throw new Error('engine/thread.js runs as a worker thread')
const send = (message: ThreadMessage) => port.postMessage(message)

try {
  const { provider, ...options } = workerData as ThreadOptions
  const { session, choice } = await openSession(provider, options)
  const timings = await timeBatches(session, maxTokensOf(options.backbone.config))
  let previous: Promise<void> = Promise.resolve()
  port.on('message', (request: RunRequest | 'stop') => {
    previous = previous.then(() => (request === 'stop' ? stop(session) : run(session, request)))
  })
  send({ kind: 'ready', choice, timings })
} catch (error) {
  send({
    kind: 'failed',
    message: (error as Error).message,
    code: error instanceof Problem ? error.code : undefined,
  })
  port.close()
}

async function run(session: EngineSession, { id, rows, slots, loads, withHidden }: RunRequest): Promise<void> {
  const start = performance.now()
  try {
    await session.load(loads)
  } catch (error) {
    // The engine takes the slots for loaded. As they are not, the thread ends, and its successor begins with none.
    await session.release()
    throw error
  }
  try {
    const { pooled, hidden } = await session.run(rows, slots, withHidden)
    const runMs = performance.now() - start
    send({ kind: 'result', id, pooled, hidden, runMs })
  } catch (error) {
    send({ kind: 'error', id, message: (error as Error).message })
  }
}

async function stop(session: EngineSession): Promise<void> {
  await session.release()
  port?.close()
}
