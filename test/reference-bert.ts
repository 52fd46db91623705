// A reference BERT with masked modules, written as slow float64 loops from the formulas of the papers. The graph is
// compared with it where the golden results of PyTorch have no example: LoRA and prefix, masks that are not combined
// with OR, one mask per layer, and [CLS] pooling.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Backbone } from '../src/backbones/backbone.js'
import { parseHeader, tensorFloats } from '../src/formats/safetensors.js'
import { type Prototype, prototypeTensor } from '../src/petl/prototype.js'

type Matrix = Float64Array[]

/** The mask entry of a weight of the maskable tensors in a layer: 0, 1 or 2. */
export type MaskEntry = (layer: number, weight: number) => number

export function referenceBert(backbone: Backbone, prototype: Prototype) {
  const file = readFileSync(join(backbone.directory, 'model.safetensors'))
  const header = parseHeader(file)
  const weights = new Map<string, Float32Array>()
  const weight = (name: string): Float32Array => {
    const known = weights.get(name)
    if (known) return known
    const info = header.tensors.get(name)
    if (info === undefined) throw new Error(`model.safetensors has no tensor ${name}`)
    const values = tensorFloats(file, name, info)
    weights.set(name, values)
    return values
  }
  const { hiddenSize: H, layers } = backbone.dims
  const [heads, eps] = ['num_attention_heads', 'layer_norm_eps'].map((field) => {
    return Number(backbone.configFile.fields.get(field))
  }) as [number, number]
  const { module } = prototype
  const own = (name: string) => prototypeTensor(prototype, name)
  /** A tensor, masked with the layer's mask entries from `first`. */
  const masked = (name: string, first: number, entry: (weight: number) => number) =>
    own(name).map((value, i) => value * entry(first + i))
  const nothing = new Float32Array(H)

  const dense = (x: Matrix, name: string) => affine(x, weight(`${name}.weight`), weight(`${name}.bias`))
  const norm = (x: Matrix, name: string) => {
    const [scale, shift] = [weight(`${name}.weight`), weight(`${name}.bias`)]
    return x.map((row) => {
      const mean = row.reduce((a, b) => a + b) / H
      const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / H
      return row.map((value, i) => ((value - mean) / Math.sqrt(variance + eps)) * at(scale, i) + at(shift, i))
    })
  }

  /** The hidden states of the last layer, [tokens, H]. */
  return (ids: readonly number[], types: readonly number[], entry: MaskEntry): Matrix => {
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
      const mask = (weight: number) => entry(l, weight)
      const project = (part: string) => dense(hidden, `${name}.attention.self.${part}`)
      let [q, k, v] = [project('query'), project('key'), project('value')]
      if (module.kind === 'lora') {
        const { rank: r, alpha } = module
        const gain = (part: string, first: number) => {
          const low = affine(hidden, masked(`${part}.A`, first, mask), new Float32Array(r))
          const high = affine(low, masked(`${part}.B`, first + r * H, mask), nothing)
          return high.map((row) => row.map((value) => (value * alpha) / r))
        }
        q = plus(q, gain('query', 0))
        v = plus(v, gain('value', 2 * r * H))
      }
      if (module.kind === 'prefix') {
        const base = masked('base', 0, mask)
        const pairs = Array.from({ length: module.length }, (_, p) => base.subarray(2 * p * H, 2 * (p + 1) * H))
        k = [...pairs.map((row) => Float64Array.from(row.subarray(0, H))), ...k]
        v = [...pairs.map((row) => Float64Array.from(row.subarray(H))), ...v]
      }
      const context = attend(q, k, v, heads)
      const x = norm(
        plus(dense(context, `${name}.attention.output.dense`), hidden),
        `${name}.attention.output.LayerNorm`,
      )
      const inner = dense(x, `${name}.intermediate.dense`).map((row) => row.map(gelu))
      const f = dense(inner, `${name}.output.dense`)
      let u = f
      if (module.kind === 'adapter') {
        const h = norm(plus(f, x), `${name}.output.LayerNorm`)
        const down = masked('down.weight', 0, mask)
        const d = affine(h, down, own('down.bias')).map((row) => row.map((value) => Math.max(0, value)))
        u = plus(affine(d, masked('up.weight', down.length, mask), own('up.bias')), f)
      }
      hidden = norm(plus(u, x), `${name}.output.LayerNorm`)
    }
    return hidden
  }
}

const at = (values: ArrayLike<number>, index: number): number => {
  const value = values[index]
  if (value === undefined) throw new Error(`index ${index} is out of range`)
  return value
}

/** x [T,I] · weightᵀ + bias, weight [O,I]. */
function affine(x: Matrix, weight: Float32Array, bias: Float32Array): Matrix {
  const outputs = bias.length
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

/** The error function, accurate to about 1e-12: a series for small x, a continued fraction for large x. */
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
