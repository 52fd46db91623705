// Peer: one onnxruntime session per task, with a plain adapter in every layer. The adapters equal the masked prototype, so
// the engine provides the expected outputs.

import { fileURLToPath } from 'node:url'
import { bundledTasks, loadModel, rowsOf, startEngine } from '../support/material.js'
import { headOutputs, ofKind } from './bundled-tasks.js'
import type { Peer } from './peer.js'
import { PeerProcess } from './peer-process.js'

const script = fileURLToPath(new URL('./adapter-sessions-process.js', import.meta.url))

export const adapterSessions: Peer = {
  name: 'onnxruntime with one adapter session per task',
  start: async () => new PeerProcess(process.execPath, [script]),
  async expected(texts) {
    const model = await loadModel()
    const engine = await startEngine(model)
    const rows = await rowsOf(
      model,
      texts.map((text) => ({ ...text, task: ofKind(bundledTasks, text.task) })),
    )
    const results = await engine.run(rows)
    await engine.close()
    return texts.map(({ task }, i) => headOutputs(task, results.rows[i]?.pooled ?? new Float32Array()))
  },
  tolerance: 1e-3,
}
