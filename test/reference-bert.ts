// A second, slow and plain BERT with masked adapters, written from the paper's formulas in float64 loops: what the
// graph computes is held against it where PyTorch's golden results have no example (AND, no combination, one mask for
// each layer, [CLS] pooling).

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Backbone } from '../src/backbones/backbone.js'
import { type Prototype, prototypeTensor } from '../src/formats/prototype.js'
import { parseHeader, tensorFloats } from '../src/formats/safetensors.js'

type Matrix = Float64Array[]

/** Weight i of the maskable tensors is on in layer l. */
export type MaskBit = (layer: number, weight: number) => boolean

export function referenceBert(backbone: Backbone, prototype: Prototype) {
  const file = readFileSync(join(backbone.directory, backbone.weightsFile))
  const header = parseHeader(file)
  const weights = new Map<string, Float32Array>()
  const weight = (name: string): Float32Array => {
    const known = weights.get(name)
    if (known) return known
    const info = header.tensors.get(name)
    if (info === undefined) throw new Error(`no tensor ${name}`)
    const values = tensorFloats(file, name, info)
    weights.set(name, values)
    return values
  }
  const { hidden_size: H, num_attention_heads: heads, num_hidden_layers: layers, layer_norm_eps: eps } = backbone.config
  const r = prototype.module.kind === 'adapter' ? prototype.module.bottleneck : Number.NaN
  const down = prototypeTensor(prototype, 'down.weight')
  const up = prototypeTensor(prototype, 'up.weight')
  const downBias = prototypeTensor(prototype, 'down.bias')
  const upBias = prototypeTensor(prototype, 'up.bias')

  const dense = (x: Matrix, name: string) => affine(x, weight(`${name}.weight`), weight(`${name}.bias`))
  const norm = (x: Matrix, name: string) => {
    const [scale, shift] = [weight(`${name}.weight`), weight(`${name}.bias`)]
    return x.map((row) => {
      const mean = row.reduce((a, b) => a + b) / H
      const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / H
      return row.map((value, i) => ((value - mean) / Math.sqrt(variance + eps)) * at(scale, i) + at(shift, i))
    })
  }

  /** Hidden states of the last layer, one row a token. */
  return (ids: readonly number[], types: readonly number[], bit: MaskBit): Matrix => {
    const embedded = ids.map((id, position) =>
      Float64Array.from(
        { length: H },
        (_, i) =>
          at(weight('embeddings.word_embeddings.weight'), id * H + i) +
          at(weight('embeddings.position_embeddings.weight'), position * H + i) +
          at(weight('embeddings.token_type_embeddings.weight'), at(types, position) * H + i),
      ),
    )
    let hidden = norm(embedded, 'embeddings.LayerNorm')
    for (let l = 0; l < layers; l++) {
      const name = `encoder.layer.${l}`
      const [q, k, v] = ['query', 'key', 'value'].map((part) => dense(hidden, `${name}.attention.self.${part}`))
      const context = attend(q ?? [], k ?? [], v ?? [], heads)
      const x = norm(
        plus(dense(context, `${name}.attention.output.dense`), hidden),
        `${name}.attention.output.LayerNorm`,
      )
      const inner = dense(x, `${name}.intermediate.dense`).map((row) => row.map(gelu))
      const f = dense(inner, `${name}.output.dense`)
      const h = norm(plus(f, x), `${name}.output.LayerNorm`)
      const maskedDown = down.map((value, i) => (bit(l, i) ? value : 0))
      const maskedUp = up.map((value, i) => (bit(l, down.length + i) ? value : 0))
      const d = affine(h, maskedDown, downBias, r).map((row) => row.map((value) => Math.max(0, value)))
      const u = affine(d, maskedUp, upBias)
      hidden = norm(plus(plus(u, f), x), `${name}.output.LayerNorm`)
    }
    return hidden
  }
}

const at = (values: ArrayLike<number>, index: number): number => {
  const value = values[index]
  if (value === undefined) throw new Error(`no element ${index}`)
  return value
}

/** x [T,I] · weightᵀ + bias, weight [O,I]. */
function affine(x: Matrix, weight: Float32Array, bias: Float32Array, outputs = bias.length): Matrix {
  const inputs = weight.length / outputs
  return x.map((row) =>
    Float64Array.from({ length: outputs }, (_, o) => {
      let sum = at(bias, o)
      for (let i = 0; i < inputs; i++) sum += (weight[o * inputs + i] ?? 0) * (row[i] ?? 0)
      return sum
    }),
  )
}

const plus = (a: Matrix, b: Matrix): Matrix => a.map((row, t) => row.map((value, i) => value + at(b[t] ?? [], i)))

function attend(q: Matrix, k: Matrix, v: Matrix, heads: number): Matrix {
  const size = (q[0]?.length ?? 0) / heads
  return q.map((query) => {
    const context = new Float64Array(query.length)
    for (let head = 0; head < heads; head++) {
      const slice = (row: Float64Array) => row.subarray(head * size, (head + 1) * size)
      const scores = k.map(
        (key) => slice(query).reduce((sum, value, i) => sum + value * at(slice(key), i), 0) / Math.sqrt(size),
      )
      const highest = Math.max(...scores)
      const powers = scores.map((score) => Math.exp(score - highest))
      const total = powers.reduce((a, b) => a + b)
      v.forEach((value, t) => {
        slice(value).forEach((element, i) => {
          context[head * size + i] = at(context, head * size + i) + (element * at(powers, t)) / total
        })
      })
    }
    return context
  })
}

const gelu = (x: number) => 0.5 * x * (1 + erf(x / Math.SQRT2))

/** Error function by its series (small x) and continued fraction (large x), to about 1e-12. */
function erf(x: number): number {
  const z = Math.abs(x)
  if (z > 6) return Math.sign(x)
  if (z < 2.5) {
    let term = z
    let sum = z
    for (let n = 1; n < 80; n++) {
      term *= (-z * z) / n
      sum += term / (2 * n + 1)
    }
    return (Math.sign(x) * 2 * sum) / Math.sqrt(Math.PI)
  }
  let fraction = 0
  for (let n = 80; n > 0; n--) fraction = n / 2 / (z + fraction)
  return Math.sign(x) * (1 - Math.exp(-z * z) / (Math.sqrt(Math.PI) * (z + fraction)))
}
