// A Node.js process with one onnxruntime session per task: the backbone with a plain adapter of the task.

import { effectiveBitset } from '../../src/petl/combining.js'
import { readTaskFile } from '../../src/petl/task-file.js'
import { bundledTasks, loadModel, taskFileBytes } from '../support/material.js'
import { PlainSession, unmasked } from '../support/plain-session.js'
import { headOutputs, ofKind } from './bundled-tasks.js'
import { serveRequests } from './node-peer.js'

const { backbone, prototype, tokenizer } = await loadModel()
const adapters = bundledTasks.map((task) =>
  unmasked(prototype, effectiveBitset(readTaskFile(taskFileBytes(task)), prototype)),
)
const sessions: PlainSession[] = []

await serveRequests({
  async addTask(task) {
    sessions.push(await PlainSession.open(backbone, ofKind(adapters, task)))
  },
  async logits({ task, ...text }) {
    const { inputIds, tokenTypeIds } = await tokenizer.encode(text)
    const session = sessions[task]
    if (session === undefined) throw new Error(`task ${task} was not added`)
    return headOutputs(task, await session.pooled({ inputIds, tokenTypeIds, pooling: 'mean' }))
  },
})
