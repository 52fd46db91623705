// What it costs the process of the engines to exchange texts and vectors with HTTP workers: time of its main thread per text.
// Compares transports with plain messages, and measures the whole path through InferenceHost.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { Duplex } from 'node:stream'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import type { RowResult } from '../../src/engine/engine.js'
import { InferenceHost } from '../../src/inference/host.js'
import type { Inference } from '../../src/inference/inference.js'
import { type Benchmark, type Figure, median, summary } from '../support/figures.js'
import { mainThreadTime } from '../support/process.js'
import { byTurn, type Exchange, packetExchange, type TextMessage } from './channel-messages.js'
import type { WorkerPlan } from './channel-worker.js'

const workers = 4
const textsInFlight = 256
/** Texts that the engine computes together. */
const batchTexts = 64
const tokens = 25
const hiddenSize = 384
const rounds = 3
const roundMs = 1_500
/** Texts before the first round. All workers have then run for a while. */
const warmUpTexts = 50_000

const script = new URL('./channel-worker.js', import.meta.url)

interface Variant {
  readonly name: string
  readonly plan: Pick<WorkerPlan, 'transport' | 'textsPerRequest'>
  readonly target?: Figure['target']
}

const plain = (name: string, transport: WorkerPlan['transport']): Variant => ({
  name: `Messages between processes, ${name}: main-thread time per text`,
  plan: { transport, textsPerRequest: 1 },
})

const host = (size: string, textsPerRequest: number): Variant => ({
  name: `Requests of HTTP workers with ${size} each, without the dispatcher: main-thread time of the process of the engines per text`,
  plan: { transport: 'host', textsPerRequest },
  target: { atMost: 15 },
})

const variants = [
  plain('IPC of node:child_process with advanced serialisation', 'ipc'),
  plain('MessagePort between threads', 'threads'),
  plain('packets over a Unix socket', 'socket'),
  host('one text', 1),
  host('32 texts', 32),
]

export const channel: Benchmark = async (log) => {
  const figures: Figure[] = []
  for (const variant of variants) {
    figures.push(await measure(variant))
    log(`channel: ${figures.length} of ${variants.length}`)
  }
  return figures
}

async function measure({ name, plan, target }: Variant): Promise<Figure> {
  const engine = new InstantEngine()
  const inference: Inference = {
    takeRequest: () => {},
    check: () => {},
    statuses: () => [],
    submit: (_payer, rows) => engine.compute(rows.length),
  }
  const inferenceHost = new InferenceHost(inference, { maskBytes: 2 ** 20, waitMs: () => 0 })
  const started = Array.from({ length: workers }, () =>
    startWorker({ ...plan, inFlight: textsInFlight / workers, tokens }, inferenceHost, engine),
  )
  try {
    while (engine.texts < warmUpTexts) await wait(100)
    const perText: number[] = []
    const perSecond: number[] = []
    for (let round = 0; round < rounds; round++) {
      const before = { texts: engine.texts, cpuMs: runningMs(), at: performance.now() }
      await wait(roundMs)
      const texts = engine.texts - before.texts
      perText.push((1_000 * (runningMs() - before.cpuMs)) / texts)
      perSecond.push((1_000 * texts) / (performance.now() - before.at))
    }
    const notes = { 'texts/s': median(perSecond), workers, 'texts in flight': textsInFlight }
    return { name, unit: 'µs', ...summary(perText), ...(target && { target }), notes }
  } finally {
    await Promise.all(started.map((stop) => stop()))
  }
}

const runningMs = () => mainThreadTime(process.pid)?.runningMs ?? Number.NaN

/** @returns stops the worker */
function startWorker(plan: WorkerPlan, inferenceHost: InferenceHost, engine: InstantEngine): () => Promise<unknown> {
  if (plan.transport === 'threads') {
    const worker = new Worker(script, { workerData: plan })
    const respond = engine.responder(byTurn((messages) => worker.postMessage(messages)))
    worker.on('message', (messages: readonly TextMessage[]) => messages.forEach(respond))
    return () => worker.terminate()
  }
  const child = fork(fileURLToPath(script), [JSON.stringify(plan)], {
    serialization: 'advanced',
    stdio: ['ignore', 'inherit', 'inherit', 'pipe', 'ipc'],
  })
  const socket = child.stdio[3]
  if (!(socket instanceof Duplex)) throw new Error('the worker has no socket')
  // The worker is killed while it sends.
  socket.on('error', () => {})
  if (plan.transport === 'ipc') {
    const respond = engine.responder(byTurn((messages) => child.connected && child.send([...messages])))
    child.on('message', (messages) => (messages as readonly TextMessage[]).forEach(respond))
  } else if (plan.transport === 'socket') {
    const exchange: Exchange = packetExchange(socket, (message) => respond(message))
    const respond = engine.responder(exchange)
  } else inferenceHost.serve(socket, 'a worker of the benchmark')
  return () => {
    const exit = once(child, 'exit')
    child.kill('SIGKILL')
    return exit
  }
}

/** Returns vectors in batches, as an engine does. */
class InstantEngine {
  texts = 0
  /** The structured clone of a message copies an array only once, so that the vectors of a batch must differ. */
  readonly #vectors = Array.from({ length: textsInFlight }, (_, text) => new Float32Array(hiddenSize).fill(text))
  #waiting: (() => void)[] = []
  #waitingTexts = 0

  compute(texts: number): Promise<RowResult[]> {
    return new Promise((resolve) =>
      this.#add(texts, () => resolve(Array.from({ length: texts }, () => ({ pooled: this.#nextVector() })))),
    )
  }

  responder(send: Exchange): (text: TextMessage) => void {
    return ([id]) => this.#add(1, () => send([id, 'computed', [this.#nextVector()]]))
  }

  #nextVector(): Float32Array {
    return this.#vectors[this.texts++ % textsInFlight] ?? new Float32Array()
  }

  #add(texts: number, respond: () => void): void {
    this.#waiting.push(respond)
    this.#waitingTexts += texts
    if (this.#waitingTexts < batchTexts) return
    const waiting = this.#waiting
    this.#waiting = []
    this.#waitingTexts = 0
    setImmediate(() => {
      for (const each of waiting) each()
    })
  }
}
