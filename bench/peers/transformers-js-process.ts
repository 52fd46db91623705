// A Node.js process with one transformers.js pipeline per task. Arguments: the directory of the models 0, 1, …, and their
// number.

import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { serveRequests } from './node-peer.js'

interface Tensor {
  tolist(): number[][]
}

/** The part of the library that is used here. Its types are not available, because it is not a dependency. */
interface Library {
  readonly env: { allowRemoteModels: boolean; localModelPath: string }
  pipeline(task: 'text-classification', model: string, options: { dtype: 'fp32'; device: 'cpu' }): Promise<Pipeline>
}

interface Pipeline {
  tokenizer(text: string, options: { text_pair: string | null; truncation: true }): object
  model(inputs: object): Promise<{ readonly logits: Tensor }>
}

const peerPackage = fileURLToPath(new URL('../../../bench/peers/transformers-js/package.json', import.meta.url))
const { env, pipeline } = createRequire(peerPackage)('@huggingface/transformers') as Library
const [, , directory = '', kinds = ''] = process.argv
env.allowRemoteModels = false
env.localModelPath = directory

const pipelines: Pipeline[] = []

await serveRequests({
  async addTask(task) {
    pipelines.push(
      await pipeline('text-classification', String(task % Number(kinds)), { dtype: 'fp32', device: 'cpu' }),
    )
  },
  // The pipeline's own call does not accept pairs, so this calls its tokenizer and model in the same way.
  async logits({ task, text, textPair = null }) {
    const pipeline = pipelines[task]
    if (pipeline === undefined) throw new Error(`task ${task} was not added`)
    const { logits } = await pipeline.model(pipeline.tokenizer(text, { text_pair: textPair, truncation: true }))
    return logits.tolist()[0] ?? []
  },
})
