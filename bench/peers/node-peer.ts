// The process of a peer that runs in Node.js. It serves a closed-loop load of N clients, each with one text at a time.

import { createInterface } from 'node:readline'
import type { LoadResult, Logits, PeerRequest, PeerText, TaskAdded } from './protocol.js'

export interface NodePeer {
  addTask(task: number): Promise<void>
  /** @returns the outputs of the task's head */
  logits(text: PeerText): Promise<readonly number[]>
}

/** Serves the requests of protocol.ts until stdin closes. */
export async function serveRequests(peer: NodePeer): Promise<void> {
  const send = (response: TaskAdded | Logits | LoadResult) => process.stdout.write(`${JSON.stringify(response)}\n`)
  let tasks = 0
  for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line) as PeerRequest
    if ('grow' in request) {
      while (tasks < request.grow) {
        await peer.addTask(tasks++)
        send({ tasks })
      }
    } else if ('logits' in request) {
      const logits: (readonly number[])[] = []
      for (const text of request.logits) logits.push(await peer.logits(text))
      send({ logits })
    } else send(await runLoad(peer, request.load, request.clients))
  }
}

async function runLoad(peer: NodePeer, texts: readonly PeerText[], clients: number): Promise<LoadResult> {
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
