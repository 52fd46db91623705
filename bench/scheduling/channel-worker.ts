// A worker of the channel benchmark, as a process or as a thread. It keeps a number of texts in flight and sends each text
// again when its vector has arrived.

import { Socket } from 'node:net'
import { parentPort, workerData } from 'node:worker_threads'
import { RemoteInference } from '../../src/inference/remote-inference.js'
import type { Submission } from '../../src/scheduler/submission.js'
import { byTurn, type Exchange, packetExchange, type TextMessage } from './channel-messages.js'

/** The descriptor of the socket to the parent process. */
const socketDescriptor = 3

export interface WorkerPlan {
  readonly transport: 'ipc' | 'threads' | 'socket' | 'host'
  readonly inFlight: number
  readonly tokens: number
  readonly textsPerRequest: number
}

const plan = (parentPort === null ? JSON.parse(process.argv[2] ?? '') : workerData) as WorkerPlan

const maskKey = '0123456789abcdef'.repeat(4)
const bitset = new Uint8Array(12_000)
const payer = { owner: 'tenant-7' }
const kind = { task: 'sentiment', maskKey, pooling: 'mean', withHidden: false } as const

/** Every text has its own arrays, because the structured clone of a message copies an array only once. */
const tokens = () => ({
  inputIds: Int32Array.from({ length: plan.tokens }, (_, place) => 1_000 * place),
  tokenTypeIds: new Int32Array(plan.tokens),
})

function exchangeOf(receive: (message: TextMessage) => void): Exchange {
  if (plan.transport === 'socket') return packetExchange(socketToParent(), receive)
  const port = parentPort
  const send = (messages: readonly TextMessage[]) =>
    port === null ? process.send?.(messages) : port.postMessage(messages)
  const receiveAll = (messages: readonly TextMessage[]) => messages.forEach(receive)
  if (port === null) process.on('message', receiveAll)
  else port.on('message', receiveAll)
  return byTurn(send)
}

function socketToParent(): Socket {
  const socket = new Socket({ fd: socketDescriptor })
  socket.on('error', () => process.exit())
  socket.on('close', () => process.exit())
  return socket
}

async function runRequests(): Promise<void> {
  const inference = await RemoteInference.connect(socketToParent())
  const row = { ...kind, ...tokens(), bitset: () => bitset }
  const rows = Array.from({ length: plan.textsPerRequest }, (): Submission => ({ task: kind.task, row, cost: 26 }))
  const repeat = async () => {
    for (;;) {
      const { signal } = new AbortController()
      await inference.submit(payer, rows, { deadline: performance.now() + 10_000, signal })
    }
  }
  await Promise.all(Array.from({ length: plan.inFlight / plan.textsPerRequest }, repeat))
}

function runTexts(): void {
  let id = 0
  const sendText = () => {
    const { inputIds, tokenTypeIds } = tokens()
    exchange([id++, { payer, ...kind }, [inputIds, tokenTypeIds]])
  }
  const exchange = exchangeOf(sendText)
  for (let text = 0; text < plan.inFlight; text++) sendText()
}

if (plan.transport === 'host') await runRequests()
else runTexts()
