// A Node.js process with a session of onnxruntime for each task: the backbone with the task's plain adapter.

import { effectiveBitset } from '../../src/petl/combining.js'
import { readTaskFile } from '../../src/petl/task-file.js'
import { bundledTasks, loadModel, taskFileBytes } from '../support/material.js'
import { PlainSession, unmasked } from '../support/plain-session.js'
import { answerRequests } from './answering.js'
import { headOutputs, ofKind } from './bundled-tasks.js'

const { backbone, prototype, tokenizer } = await loadModel()
const adapters = bundledTasks.map((task) =>
  unmasked(prototype, effectiveBitset(readTaskFile(taskFileBytes(task)), prototype)),
)
const sessions: PlainSession[] = []

await answerRequests({
  async open(task) {
    sessions.push(await PlainSession.open(backbone, ofKind(adapters, task)))
  },
  async logits({ task, ...text }) {
    const { inputIds, tokenTypeIds } = await tokenizer.encode(text)
    const session = sessions[task]
    if (session === undefined) throw new Error(`there is no task ${task}`)
    return headOutputs(task, await session.pooled({ inputIds, tokenTypeIds, pooling: 'mean' }))
  },
})
