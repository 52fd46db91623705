// The program of an HTTP worker. It reads requests and tokenises texts, has the rows computed by the primary process, and
// applies the heads. Requests that are not predictions are passed to the primary process.

import { rmSync } from 'node:fs'
import { Socket } from 'node:net'
import { dirname } from 'node:path'
import { openLog } from '../http/logger.js'
import { Problem, reasonOf } from '../problem.js'
import { type FromWorker, inferenceFd, type ToWorker, type WorkerStart } from './messages.js'
import { WorkerServer } from './worker-server.js'

/** Between two reports of the metrics, in milliseconds. What was counted since the last one is lost if the worker is killed. */
const reportEveryMs = 1_000

// The primary process handles signals, which a terminal or a service manager sends to all processes. Node ends this process
// when the primary process has ended.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const)
  process.on(signal, () => {})

/** Resolves once the message is sent, or cannot be sent. */
const send = (message: FromWorker): Promise<void> =>
  new Promise((resolve) => {
    if (process.send === undefined || !process.connected) resolve()
    else process.send(message, undefined, undefined, () => resolve())
  })

let started: Promise<(message: ToWorker) => Promise<void>> | undefined
process.on('message', async (message: ToWorker) => {
  if (message.kind === 'start') started = run(message.start)
  else await (await started)?.(message)
})
await send({ kind: 'up' })

/** @returns the function that handles further messages */
async function run(start: WorkerStart): Promise<(message: ToWorker) => Promise<void>> {
  const log = openLog(start.config.logLevel, false)
  const { logger } = log
  const exit = async (code: number): Promise<never> => {
    await log.flush()
    return process.exit(code)
  }
  const fail = async (error: unknown): Promise<never> => {
    const code = error instanceof Problem ? error.code : undefined
    if (code === undefined) logger.fatal({ err: error }, 'an HTTP worker failed')
    await send({ kind: 'failed', code, message: reasonOf(error) })
    return exit(1)
  }
  process.on('uncaughtException', fail)
  // A primary process that was killed leaves its directory.
  process.once('exit', () => {
    if (!process.connected) rmSync(dirname(start.appSocket), { recursive: true, force: true })
  })
  let server: WorkerServer
  try {
    server = await WorkerServer.open(start, new Socket({ fd: inferenceFd }), logger)
  } catch (error) {
    return fail(error)
  }
  const report = async () => {
    const metrics = await server.parts.metrics.registry.getMetricsAsJSON()
    await send({ kind: 'metrics', metrics, shadows: server.takeShadows(), connections: server.connections })
  }
  let dropped = 0
  const sendCollected = async () => {
    const newlyDropped = server.texts.dropped - dropped
    const collected = server.texts.take()
    if (collected.length === 0 && newlyDropped === 0) return
    dropped += newlyDropped
    await send({ kind: 'texts', collected, dropped: newlyDropped })
  }
  let sending: Promise<void> | undefined
  const sendTexts = () => {
    // While the channel is full, texts wait in their buffer, which is bounded.
    sending ??= sendCollected().finally(() => {
      sending = undefined
    })
  }
  const reporting = setInterval(() => {
    void report()
    sendTexts()
  }, reportEveryMs)
  let stopping = false
  const stop = async (code: number) => {
    if (stopping) return
    stopping = true
    await server.close()
    clearInterval(reporting)
    await sending
    await sendCollected()
    await report()
    await exit(code)
  }
  void server.parts.inference.ended.then(({ message }) => {
    if (!stopping) logger.error({ reason: message }, 'an HTTP worker ends: it has lost the process of the engines')
    return stop(1)
  })
  await send({ kind: 'listening', address: server.parts.address })
  return async (message) => {
    switch (message.kind) {
      case 'start':
        return
      case 'load':
        await server.load(message.model).then(() => send({ kind: 'loaded' }), fail)
        return
      case 'serve':
        return server.serve()
      case 'store':
        return server.useStore(message.store)
      case 'certificate':
        return server.parts.certificate?.replace(message.pair)
      case 'log_level':
        logger.level = message.level
        return
      case 'report':
        return report()
      case 'stop':
        return stop(0)
    }
  }
}
