// The process of a peer that runs in Node.js: it answers one text at a time, for so many clients that each send their next
// text when the last was answered.

import { createInterface } from 'node:readline'
import type { Grown, Loaded, Logits, PeerRequest, PeerText } from './protocol.js'

export interface Answering {
  /** Takes on a task. */
  open(task: number): Promise<void>
  /** Head outputs. */
  logits(text: PeerText): Promise<readonly number[]>
}

/** Answers requests until stdin ends. */
export async function answerRequests(peer: Answering): Promise<void> {
  const say = (answer: Grown | Logits | Loaded) => process.stdout.write(`${JSON.stringify(answer)}\n`)
  let tasks = 0
  for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line) as PeerRequest
    if ('grow' in request) {
      while (tasks < request.grow) {
        await peer.open(tasks++)
        say({ tasks })
      }
    } else if ('logits' in request) {
      const logits: (readonly number[])[] = []
      for (const text of request.logits) logits.push(await peer.logits(text))
      say({ logits })
    } else say(await answerAll(peer, request.load, request.clients))
  }
}

async function answerAll(peer: Answering, texts: readonly PeerText[], clients: number): Promise<Loaded> {
  const latenciesMs: number[] = []
  const start = performance.now()
  let next = 0
  const client = async () => {
    for (let text = texts[next++]; text !== undefined; text = texts[next++]) {
      const sent = performance.now()
      await peer.logits(text)
      latenciesMs.push(performance.now() - sent)
    }
  }
  await Promise.all(Array.from({ length: clients }, client))
  return { seconds: (performance.now() - start) / 1000, latenciesMs }
}
