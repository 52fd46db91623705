// The expected outputs of a peer, computed one text at a time with the backbone, a plain module per task if there is one,
// and the task's head.

import { loadModel } from '../support/material.js'
import { type PlainModule, PlainSession } from '../support/plain-session.js'
import { headOutputs } from './bundled-tasks.js'
import type { PeerText } from './protocol.js'

/** @param moduleOf returns the module of a task; absent for the bare backbone */
export async function expectedLogits(
  texts: readonly PeerText[],
  moduleOf?: (task: number) => PlainModule,
): Promise<number[][]> {
  const { backbone, tokenizer } = await loadModel()
  const logits: number[][] = []
  for (const { task, ...text } of texts) {
    const { inputIds, tokenTypeIds } = await tokenizer.encode(text)
    const session = await PlainSession.open(backbone, moduleOf?.(task))
    logits.push(headOutputs(task, await session.pooled({ inputIds, tokenTypeIds, pooling: 'mean' })))
    await session.release()
  }
  return logits
}
