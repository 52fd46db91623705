// Measures the inputs of dense layers before int8 serves: a float32 session runs the sample texts, and its graph reduces each
// input to the range and the mean of its channels.

import { InferenceSession, Tensor } from 'onnxruntime-node'
import { serializeOnnx } from '../graph/onnx.js'
import { type ChannelRanges, denseInputs, rangeName, withChannelRanges } from '../graph/passes/dense-inputs.js'
import type { Prototype } from '../petl/prototype.js'
import { Bank } from './bank.js'
import { feedsFor } from './feeds.js'
import type { ServedModel } from './numerics/number-format.js'
import { packRows } from './packed-rows.js'
import { sampleMasks, sampleRows } from './samples.js'

/** The ranges of the inputs of all dense layers of a graph, by their names. */
export async function calibrate({
  graph,
  backbone,
  prototype,
  threads,
}: ServedModel): Promise<ReadonlyMap<string, ChannelRanges>> {
  const inputs = Array.from(denseInputs(graph).keys(), ({ name }) => name)
  const feedsOf = prototype ? sampleFeeds(prototype) : () => ({})
  const session = await InferenceSession.create(serializeOnnx(withChannelRanges(graph)), {
    intraOpNumThreads: threads,
    graphOptimizationLevel: 'basic',
    logSeverityLevel: 4,
    extra: { session: { model_external_initializers_file_folder_path: backbone.weightsFolder } },
  })
  try {
    const found = new Map<string, ChannelRanges>()
    let tokens = 0
    const samples = (await sampleRows(backbone)).filter(({ inputIds }) => inputIds.length <= mostTokens)
    for (const [at, row] of samples.entries()) {
      const outputs = await session.run(feedsFor(session, packRows([row]), feedsOf(at)))
      const count = row.inputIds.length
      tokens += count
      for (const input of inputs) {
        const known = found.get(input)
        const fresh = rangesOf(outputs, input)
        found.set(input, known ? merged(known, fresh, count / tokens) : fresh)
      }
    }
    return found
  } finally {
    await session.release()
  }
}

/** The inputs of a bank with the sample masks, for one row of each. */
function sampleFeeds(prototype: Prototype): (row: number) => InferenceSession.FeedsType {
  const masks = sampleMasks(prototype, mostMasks)
  const slots = masks.slots.length
  const { layers, maskBytes } = prototype
  const bank = new Bank(slots, layers, maskBytes)
  bank.load(masks)
  const words = new Tensor(bank.word, bank.words, [slots, layers, maskBytes])
  return (row) => ({ bank: words, row_slots: new Tensor('int32', Int32Array.of(row % slots), [1]) })
}

/** Of the sample masks. */
const mostMasks = 3
/** Of a sample. Longer ones would raise the memory and the time of the start, and hardly change the ranges. */
const mostTokens = 256

function rangesOf(outputs: InferenceSession.ReturnType, input: string): ChannelRanges {
  const part = (name: keyof ChannelRanges): Float32Array => {
    const data = outputs[rangeName(name, input)]?.data
    if (data instanceof Float32Array) return data
    throw new Error(`the session returned no ${name} of "${input}"`)
  }
  return { low: part('low'), high: part('high'), mean: part('mean') }
}

/** @param share of the second ranges in the mean */
const merged = (a: ChannelRanges, b: ChannelRanges, share: number): ChannelRanges => ({
  low: a.low.map((value, i) => Math.min(value, b.low[i] ?? value)),
  high: a.high.map((value, i) => Math.max(value, b.high[i] ?? value)),
  mean: a.mean.map((value, i) => value + share * ((b.mean[i] ?? value) - value)),
})
