// Peer: transformers.js with one pipeline per task. A task is a directory in the layout of the Hugging Face Hub, with its
// own float32 model.onnx: backbone, mean of the hidden states, head.

import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Backbone, readBackbone } from '../../src/backbones/backbone.js'
import { encoder } from '../../src/backbones/encoder.js'
import { weightsName } from '../../src/backbones/model-files.js'
import { parseHeader, serializeSafetensors, tensorFloats } from '../../src/formats/safetensors.js'
import { bytesOf, type Graph, GraphBuilder, type Value } from '../../src/graph/graph.js'
import { serializeOnnx } from '../../src/graph/onnx.js'
import { cast, div, linear, matmul, reduceSum, reshape, scale, sizes, sub } from '../../src/graph/operators.js'
import type { Linear } from '../../src/petl/task.js'
import { bundledTasks, modelDir } from '../support/material.js'
import { bundledHeads } from './bundled-tasks.js'
import { expectedLogits } from './expected.js'
import type { Peer } from './peer.js'
import { PeerProcess } from './peer-process.js'

const script = fileURLToPath(new URL('./transformers-js-process.js', import.meta.url))

export const transformersJs: Peer = {
  name: 'transformers.js with one pipeline per task',
  async start(directory) {
    const backbone = await float32Backbone(join(directory, 'float32'))
    const weights = await readFile(join(backbone.directory, weightsName))
    for (const [kind, head] of bundledHeads.entries()) {
      const model = join(directory, String(kind))
      await mkdir(join(model, 'onnx'), { recursive: true })
      await writeFile(join(model, 'onnx', 'model.onnx'), serializeOnnx(inOneFile(classifier(backbone, head), weights)))
      for (const name of ['tokenizer.json', 'tokenizer_config.json'])
        await copyFile(join(modelDir, name), join(model, name))
      const config = JSON.parse(await readFile(join(modelDir, 'config.json'), 'utf8')) as object
      const labels = Object.fromEntries(Array.from({ length: head.outputs }, (_, i) => [i, `LABEL_${i}`]))
      await writeFile(join(model, 'config.json'), JSON.stringify({ ...config, id2label: labels }))
    }
    return new PeerProcess(process.execPath, [script, directory, String(bundledTasks.length)])
  },
  expected: (texts) => expectedLogits(texts),
  tolerance: 1e-3,
}

/** The bundled backbone with float32 weights, which is what ONNX models usually have. */
async function float32Backbone(directory: string): Promise<Backbone> {
  await mkdir(directory)
  const file = await readFile(join(modelDir, weightsName))
  const header = parseHeader(file)
  const tensors = [...header.tensors].map(([name, info]) => {
    const data = bytesOf(tensorFloats(file, name, info))
    return [name, { dtype: 'F32', shape: info.shape, data }] as const
  })
  await writeFile(join(directory, weightsName), serializeSafetensors({}, Object.fromEntries(tensors)))
  await copyFile(join(modelDir, 'config.json'), join(directory, 'config.json'))
  return readBackbone(directory)
}

/** A graph from token ids and attention mask of padded rows to logits, as exported for sequence classification. */
function classifier(backbone: Backbone, head: Linear): Graph {
  const { hiddenSize: H } = backbone.dims
  const g = new GraphBuilder()
  const [ids, mask, types] = (['input_ids', 'attention_mask', 'token_type_ids'] as const).map((name) =>
    g.input(name, 'int64', ['B', 'S']),
  ) as [Value, Value, Value]
  const flat = (x: Value) => cast(g, reshape(g, x, [-1], 'T'), 'int32')
  const range = (limit: Value, dimension: string) => {
    const one = (name: string, value: bigint) => g.constant(name, 'int64', [], bytesOf(BigInt64Array.of(value)))
    const output = { dtype: 'int64', shape: [dimension] } as const
    return g.node('Range', [one(`${dimension}.first`, 0n), limit, one(`${dimension}.step`, 1n)], output)
  }
  const scalar = (x: Value) => g.node('Squeeze', [x], { dtype: 'int64', shape: [] })
  const columns = range(scalar(sizes(g, ['S'])), 'S')
  const positions = range(g.node('Size', [ids], { dtype: 'int64', shape: [] }), 'T')
  const rowsOfColumns = g.node('Expand', [columns, sizes(g, ['B', 'S'])], { dtype: 'int64', shape: ['B', 'S'] })
  const present = cast(g, mask, 'float32')
  const packing = {
    paddedIndex: cast(g, reshape(g, positions, ['B', 'S']), 'int32'),
    packedIndex: cast(g, positions, 'int32'),
  }
  const hidden = encoder(
    g,
    backbone,
    {
      inputIds: flat(ids),
      tokenTypeIds: flat(types),
      positionIds: flat(rowsOfColumns),
      keyBias: reshape(g, scale(g, sub(g, present, g.scalar(1)), 10_000), ['B', 1, 1, 'S']),
      packing,
    },
    { gatherHalf: true },
  )
  const rows = reshape(g, hidden, ['B', 'S', H])
  const sum = reshape(g, matmul(g, reshape(g, present, ['B', 1, 'S']), rows), ['B', H])
  const mean = div(g, sum, reduceSum(g, present, [1], true))
  const weight = g.constant('classifier.weight', 'float32', [head.outputs, H], bytesOf(head.weight))
  const bias = g.constant('classifier.bias', 'float32', [head.outputs], bytesOf(head.bias))
  return g.build([g.output('logits', linear(g, mean, weight, bias))])
}

/** The graph with its weights embedded. */
const inOneFile = (graph: Graph, weights: Uint8Array): Graph => ({
  ...graph,
  constants: graph.constants.map(({ value, data }) => ({
    value,
    data: data instanceof Uint8Array ? data : weights.subarray(data.offset, data.offset + data.length),
  })),
})
