// The worker thread of an engine. It owns the onnxruntime session and the bank, and runs one batch after another.

import { parentPort, workerData } from 'node:worker_threads'
import { Problem } from '../problem.js'
import { openSession } from '../runtime/provider-choice.js'
import type { ServingSession } from '../runtime/session.js'
import { timeBatches } from '../runtime/warm-up.js'
import { lossOf } from './engine-lost.js'
import type { RunRequest, ThreadMessage, ThreadOptions } from './protocol.js'
import { runRequest } from './run-request.js'

const port = parentPort
if (port === null) throw new Error('engine/thread.js runs as a worker thread')
const { provider, numerics, abandoned, ...options } = workerData as ThreadOptions
const maxTokens = options.backbone.dims.maxTokens
/** Sends a message. The arrays of a result are transferred, not copied. */
function send(message: ThreadMessage): void {
  const arrays = message.kind === 'result' ? [message.pooled, ...(message.hidden ? [message.hidden] : [])] : []
  port?.postMessage(
    message,
    arrays.map(({ buffer }) => buffer as ArrayBuffer),
  )
}

try {
  const { session, choice } = await openSession({ provider, numerics }, options)
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

/** If the session fails, the thread ends. Its replacement opens a new session. */
async function run(session: ServingSession, request: RunRequest): Promise<void> {
  if (Atomics.load(abandoned, 0) === 1) return
  try {
    send(await runRequest(session, request, maxTokens))
  } catch (error) {
    Atomics.store(abandoned, 0, 1)
    send({ kind: 'lost', loss: lossOf(error as Error, session.provider) })
    await stop(session)
  }
}

async function stop(session: ServingSession): Promise<void> {
  await session.release()
  port?.close()
}
