// Peer: PyTorch with PEFT, which mixes LoRA adapters in a batch by adapter_names. The adapters have random weights, and as
// many of them as the adapter of the bundled prototype.

import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Backbone, readBackbone } from '../../src/backbones/backbone.js'
import { serializeSafetensors, type TensorData } from '../../src/formats/safetensors.js'
import { bytesOf } from '../../src/graph/graph.js'
import { Random } from '../../src/learn/random.js'
import { petlModule } from '../../src/petl/kinds.js'
import { elementCount, moduleTensors } from '../../src/petl/module.js'
import { bundledTasks, modelDir } from '../support/material.js'
import { type PlainModule, randomModule } from '../support/plain-session.js'
import { bundledHeads, ofKind } from './bundled-tasks.js'
import { expectedLogits } from './expected.js'
import type { Peer } from './peer.js'
import { PeerProcess } from './peer-process.js'

const script = fileURLToPath(new URL('../../../bench/peers/peft_adapters.py', import.meta.url))
const config = { kind: 'lora', rank: 16, alpha: 24 } as const
const deviation = 0.03

/** @param python an interpreter with bench/peers/requirements.txt installed */
export const peft = (python: string, dtype: 'float32' | 'bfloat16'): Peer => ({
  name: `PyTorch with PEFT, ${dtype}`,
  async start(directory) {
    const file = join(directory, 'kinds.safetensors')
    await writeFile(file, kindsFile(await readBackbone(modelDir)))
    return new PeerProcess(python, [script, modelDir, file, dtype])
  },
  async expected(texts) {
    const modules = loraModules(await readBackbone(modelDir))
    return expectedLogits(texts, (task) => ofKind(modules, task))
  },
  // bfloat16 has 8 bits of precision, and the logits here reach 4.
  tolerance: dtype === 'float32' ? 1e-3 : 0.15,
})

const loraModules = (backbone: Backbone): readonly PlainModule[] =>
  bundledTasks.map((task) => {
    const random = new Random(1, task)
    return randomModule(config, backbone, (count) => random.normal(count, deviation))
  })

/** The file that peft_adapters.py reads: adapters and heads of all kinds. */
function kindsFile(backbone: Backbone): Uint8Array {
  const { hiddenSize: H, layers } = backbone.dims
  const tensors: Record<string, TensorData> = {}
  const put = (name: string, shape: readonly number[], values: Float32Array) => {
    if (values.length !== elementCount(shape))
      throw new Error(`"${name}" has ${values.length} values; expected the shape [${shape}]`)
    tensors[name] = { dtype: 'F32', shape, data: bytesOf(values) }
  }
  for (const [kind, module] of loraModules(backbone).entries())
    for (let layer = 0; layer < layers; layer++)
      for (const { name, shape } of moduleTensors(petlModule(config, H)))
        put(`${kind}.layer.${layer}.${name}`, shape, module.weights(layer, name))
  for (const [kind, { outputs, inputs, weight, bias }] of bundledHeads.entries()) {
    put(`${kind}.head.weight`, [outputs, inputs], weight)
    put(`${kind}.head.bias`, [outputs], bias)
  }
  const facts = { kinds: String(bundledTasks.length), rank: String(config.rank), alpha: String(config.alpha) }
  return serializeSafetensors(facts, tensors)
}
