// The engine's thread: it owns onnxruntime and the bank, and runs one batch after another.

import { parentPort, workerData } from 'node:worker_threads'
import { maxTokensOf } from '../backbones/families.js'
import { Problem } from '../problem.js'
import { lossOf } from './engine-lost.js'
import type { RunRequest, ThreadMessage, ThreadOptions } from './protocol.js'
import { openSession } from './providers.js'
import { runRequest } from './run-request.js'
import type { EngineSession } from './session.js'
import { timeBatches } from './warm-up.js'

const port = parentPort
if (port === null) throw new Error('engine/thread.js runs as a worker thread')
const { provider, givenUp, ...options } = workerData as ThreadOptions
const maxTokens = maxTokensOf(options.backbone.config)
const send = (message: ThreadMessage) => port.postMessage(message)

try {
  const { session, choice } = await openSession(provider, options)
  const timings = await timeBatches(session, maxTokens)
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

/** If the session fails, the thread ends with it, and its successor begins with a sound one. */
async function run(session: EngineSession, request: RunRequest): Promise<void> {
  if (Atomics.load(givenUp, 0) === 1) return
  try {
    send(await runRequest(session, request, maxTokens))
  } catch (error) {
    Atomics.store(givenUp, 0, 1)
    send({ kind: 'lost', loss: lossOf(error as Error, session.provider) })
    await stop(session)
  }
}

async function stop(session: EngineSession): Promise<void> {
  await session.release()
  port?.close()
}
