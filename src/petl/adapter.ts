// The adapter after a layer's feed-forward block (paper, section 3.1; Pfeiffer placement). Where each row of a batch has
// its own masked weights it works on padded rows; where all rows share one task, on packed tokens.

import { type ModuleConfig, type Prototype, prototypeTensor } from '../formats/prototype.js'
import { bytesOf, type GraphBuilder, type Value } from '../graph/graph.js'
import { add, gelu, linear, matmul, relu, scale, tanh, transpose } from '../graph/operators.js'
import { type Packing, pack, pad } from '../graph/packing.js'
import { maskedWeight } from './unpacking.js'

export interface AdapterWeights {
  /** [r,H], or [B,r,H] once masked for each row. */
  readonly down: Value
  readonly downBias: Value
  /** [H,r], or [B,H,r] once masked for each row. */
  readonly up: Value
  readonly upBias: Value
}

export type AdapterConfig = Extract<ModuleConfig, { kind: 'adapter' }>

const activations = { relu, gelu, tanh }

/** The prototype's weights as constants of a graph, shared by all layers. */
export function adapterConstants(
  g: GraphBuilder,
  prototype: Prototype,
  { bottleneck: r }: AdapterConfig,
): AdapterWeights {
  const H = prototype.hiddenSize
  const constant = (name: string, shape: readonly number[]) =>
    g.constant(`adapter.${name}`, 'float32', shape, bytesOf(prototypeTensor(prototype, name)))
  return {
    down: constant('down.weight', [r, H]),
    downBias: constant('down.bias', [r]),
    up: constant('up.weight', [H, r]),
    upBias: constant('up.bias', [H]),
  }
}

/** Each row's own weights: biases are shared and unmasked. `masks` are the rows' bytes for one layer, [B, ⌈n/8⌉]. */
export function maskAdapter(g: GraphBuilder, table: Value, masks: Value, weights: AdapterWeights): AdapterWeights {
  const [r = 0, H = 0] = weights.down.shape as readonly number[]
  return {
    ...weights,
    down: maskedWeight(g, table, masks, weights.down, 0),
    up: maskedWeight(g, table, masks, weights.up, r * H),
  }
}

/**
 * u = (act(h · downᵀ + b_down) · upᵀ + b_up) · scaling; u + f is the new output of the feed-forward block.
 * @param h packed [T,H], what the adapter looks at: LN(f + x)
 * @param f packed [T,H], the feed-forward block's output
 * @returns u + f, packed [T,H]
 */
export function adapter(
  g: GraphBuilder,
  config: AdapterConfig,
  weights: AdapterWeights,
  packing: Packing,
  h: Value,
  f: Value,
): Value {
  const activate = activations[config.activation]
  const rows = pad(g, h, packing)
  const d = activate(g, add(g, matmul(g, rows, transpose(g, weights.down, [0, 2, 1])), weights.downBias))
  const u = pack(g, matmul(g, d, transpose(g, weights.up, [0, 2, 1])), packing)
  const biased = add(g, u, weights.upBias)
  return add(g, config.scaling === 1 ? biased : scale(g, biased, config.scaling), f)
}

/** The same where all rows have the same weights, [r,H] and [H,r]: plain matrix products on the packed tokens. */
export function adapterOfOneTask(
  g: GraphBuilder,
  config: AdapterConfig,
  weights: AdapterWeights,
  h: Value,
  f: Value,
): Value {
  const d = activations[config.activation](g, linear(g, h, weights.down, weights.downBias))
  const u = linear(g, d, weights.up, weights.upBias)
  return add(g, config.scaling === 1 ? u : scale(g, u, config.scaling), f)
}
