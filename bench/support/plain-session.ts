// The backbone as simple code would run it: a session without a bank that takes one unpadded text at a time. It is bare,
// or each layer has a plain module, which has its own weights and no mask.

import type { Backbone } from '../../src/backbones/backbone.js'
import { encoder, encoderInputs } from '../../src/backbones/encoder.js'
import { byName, bytesOf, type Graph, GraphBuilder } from '../../src/graph/graph.js'
import { matmul, reshape } from '../../src/graph/operators.js'
import { pad } from '../../src/graph/packing.js'
import { poolInputs, textInputs } from '../../src/learn/batches.js'
import { type ModuleConfig, petlModule } from '../../src/petl/kinds.js'
import { elementCount, maskRange, moduleTensors } from '../../src/petl/module.js'
import { type Prototype, prototypeTensor } from '../../src/petl/prototype.js'
import { GraphSession } from '../../src/runtime/graph-session.js'
import { packRows, type TokenRow } from '../../src/runtime/packed-rows.js'

export interface PlainModule {
  readonly config: ModuleConfig
  /** The weights of a tensor of a layer. */
  readonly weights: (layer: number, tensor: string) => Float32Array
}

export class PlainSession {
  private constructor(readonly session: GraphSession) {}

  static async open(backbone: Backbone, module?: PlainModule): Promise<PlainSession> {
    const options = { directory: backbone.weightsFolder, threads: 0 }
    return new PlainSession(await GraphSession.open(plainGraph(backbone, module), options))
  }

  /** The pooled vector [H] of a text. */
  async pooled(row: TokenRow): Promise<Float32Array> {
    const rows = packRows([row])
    const results = await this.session.run({ ...textInputs(rows), ...poolInputs(rows) })
    const pooled = results.get('pooled')
    if (pooled === undefined) throw new Error('the graph has no output "pooled"')
    return pooled
  }

  async release(): Promise<void> {
    await this.session.release()
  }
}

function plainGraph(backbone: Backbone, module: PlainModule | undefined): Graph {
  const { hiddenSize: H } = backbone.dims
  const g = new GraphBuilder()
  const inputs = encoderInputs(g)
  const poolWeights = g.input('pool_weights', 'float32', ['B', 1, 'S'])
  const hooks = module && {
    hooks: (layer: number) => {
      const petl = petlModule(module.config, H)
      const values = moduleTensors(petl).map(({ name, shape }) => {
        const bytes = bytesOf(module.weights(layer, name))
        return [name, g.constant(`layer.${layer}.${name}`, 'float32', shape, bytes)] as const
      })
      return petl.layer(g, byName(values), inputs.packing)
    },
  }
  const hidden = encoder(g, backbone, inputs, { gatherHalf: true, ...hooks })
  const pooled = reshape(g, matmul(g, poolWeights, pad(g, hidden, inputs.packing)), ['B', H])
  return g.build([g.output('pooled', pooled)])
}

/** The plain module that equals the prototype under a task's effective bitset. */
export function unmasked(prototype: Prototype, bitset: Uint8Array): PlainModule {
  const { module: config, hiddenSize, layers, maskBytes } = prototype
  const module = petlModule(config, hiddenSize)
  const maskable = new Map(module.maskable.map(({ name }) => [name, maskRange(module, name).first]))
  const planeBytes = layers * maskBytes
  const bit = (byte: number, at: number) => ((bitset[byte + (at >> 3)] ?? 0) >> (at & 7)) & 1
  return {
    config,
    weights(layer, tensor) {
      const values = prototypeTensor(prototype, tensor)
      const first = maskable.get(tensor)
      if (first === undefined) return values
      return values.map((value, i) => {
        let entry = 0
        for (let byte = layer * maskBytes; byte < bitset.byteLength; byte += planeBytes) entry += bit(byte, first + i)
        return value * entry
      })
    },
  }
}

/** A plain module whose weights come from `draw`, which returns `count` numbers. */
export function randomModule(
  config: ModuleConfig,
  { dims: { hiddenSize, layers: layerCount } }: Backbone,
  draw: (count: number) => Float32Array,
): PlainModule {
  const tensors = moduleTensors(petlModule(config, hiddenSize))
  const layers = Array.from(
    { length: layerCount },
    () => new Map(tensors.map(({ name, shape }) => [name, draw(elementCount(shape))])),
  )
  return {
    config,
    weights(layer, tensor) {
      const values = layers[layer]?.get(tensor)
      if (values === undefined) throw new Error(`layer ${layer} has no tensor "${tensor}"`)
      return values
    },
  }
}
