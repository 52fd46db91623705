// A Node.js process with a pipeline of transformers.js for each task. Arguments: the directory of the models, which are
// 0, 1, …, and their number.

import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { answerRequests } from './answering.js'

interface Tensor {
  tolist(): number[][]
}

/** What is used of the library. It is no dependency of this package, so its types are not here. */
interface Library {
  readonly env: { allowRemoteModels: boolean; localModelPath: string }
  pipeline(task: 'text-classification', model: string, options: { dtype: 'fp32'; device: 'cpu' }): Promise<Pipeline>
}

interface Pipeline {
  tokenizer(text: string, options: { text_pair: string | null; truncation: true }): object
  model(inputs: object): Promise<{ readonly logits: Tensor }>
}

const itsPackage = fileURLToPath(new URL('../../../bench/peers/transformers-js/package.json', import.meta.url))
const { env, pipeline } = createRequire(itsPackage)('@huggingface/transformers') as Library
const [, , directory = '', kinds = ''] = process.argv
env.allowRemoteModels = false
env.localModelPath = directory

const pipelines: Pipeline[] = []

await answerRequests({
  async open(task) {
    pipelines.push(
      await pipeline('text-classification', String(task % Number(kinds)), { dtype: 'fp32', device: 'cpu' }),
    )
  },
  // The pipeline's own call takes no pairs, so its two parts are called, as it calls them.
  async logits({ task, text, textPair = null }) {
    const own = pipelines[task]
    if (own === undefined) throw new Error(`there is no task ${task}`)
    const { logits } = await own.model(own.tokenizer(text, { text_pair: textPair, truncation: true }))
    return logits.tolist()[0] ?? []
  },
})
