// The prototype file: the one shared module whose weights every layer and every task masks.

import { Type } from 'typebox'
import { Problem } from '../problem.js'
import { digestOf } from './digest.js'
import { Metadata } from './metadata.js'
import { parseHeader, serializeSafetensors, type TensorData, tensorBytes, tensorFloats } from './safetensors.js'

export const prototypeFormat = 'propetl-prototype/1'

/** What a prototype is made of, as method.md names the three modules of the paper (section 3). */
export type ModuleConfig =
  | {
      readonly kind: 'adapter'
      readonly bottleneck: number
      readonly activation: 'relu' | 'gelu' | 'tanh'
      readonly scaling: number
    }
  | { readonly kind: 'lora'; readonly rank: number; readonly alpha: number }
  | { readonly kind: 'prefix'; readonly length: number }

export interface PrototypeTensor {
  readonly name: string
  readonly shape: readonly number[]
}

export interface Prototype {
  /** SHA-256 of the file: task files name it. */
  readonly digest: string
  /** SHA-256 of the backbone's weights that it was learned on. */
  readonly backbone: string
  readonly module: ModuleConfig
  readonly layers: number
  readonly hiddenSize: number
  /** n: how many weights a mask covers. */
  readonly maskableWeights: number
  /** Bytes of one mask: ⌈n/8⌉. */
  readonly maskBytes: number
  /** float32 values, maskable tensors and the others, by name. */
  readonly tensors: ReadonlyMap<string, Float32Array>
  /** Layer masks, [layers, ⌈n/8⌉] bytes; absent if tasks do not combine with any. */
  readonly layerMasks?: Uint8Array
}

/** The tensors of a module in the order in which mask bits count through them, and those no mask touches. */
export function moduleTensors(
  module: ModuleConfig,
  hiddenSize: number,
): { readonly maskable: readonly PrototypeTensor[]; readonly unmasked: readonly PrototypeTensor[] } {
  const H = hiddenSize
  switch (module.kind) {
    case 'adapter': {
      const r = module.bottleneck
      return {
        maskable: [
          { name: 'down.weight', shape: [r, H] },
          { name: 'up.weight', shape: [H, r] },
        ],
        unmasked: [
          { name: 'down.bias', shape: [r] },
          { name: 'up.bias', shape: [H] },
        ],
      }
    }
    case 'lora': {
      const r = module.rank
      const pair = (name: string) => [
        { name: `${name}.A`, shape: [r, H] },
        { name: `${name}.B`, shape: [H, r] },
      ]
      return { maskable: [...pair('query'), ...pair('value')], unmasked: [] }
    }
    case 'prefix':
      return { maskable: [{ name: 'base', shape: [module.length, 2 * H] }], unmasked: [] }
  }
}

export const elementCount = (shape: readonly number[]): number => shape.reduce((product, dim) => product * dim, 1)

/**
 * Reads a prototype file.
 * @throws Problem `not_safetensors` or `invalid_prototype`
 */
export function readPrototype(file: Uint8Array): Prototype {
  const header = parseHeader(file)
  const metadata = new Metadata(header.metadata, refuse)
  metadata.choice('format', [prototypeFormat])
  const module = readModule(metadata)
  const layers = metadata.count('layers', 1_000)
  const hiddenSize = metadata.count('hidden_size', 100_000)
  const { maskable, unmasked } = moduleTensors(module, hiddenSize)
  const maskableWeights = maskable.reduce((sum, { shape }) => sum + elementCount(shape), 0)
  const maskBytes = Math.ceil(maskableWeights / 8)

  const tensors = new Map<string, Float32Array>()
  for (const { name, shape } of [...maskable, ...unmasked]) {
    const info = header.tensors.get(name) ?? refuse(`tensor "${name}" [${shape.join(', ')}] is missing`)
    if (info.shape.join() !== shape.join())
      refuse(`tensor "${name}" has shape [${info.shape.join(', ')}]; expected [${shape.join(', ')}]`)
    const values = tensorFloats(file, name, info)
    if (!values.every(Number.isFinite)) refuse(`tensor "${name}" holds a value that is not finite`)
    tensors.set(name, values)
  }

  const masks = header.tensors.get('layer_masks')
  if (masks !== undefined && (masks.dtype !== 'U8' || masks.shape.join() !== [layers, maskBytes].join()))
    refuse(`layer_masks is ${masks.dtype} [${masks.shape.join(', ')}]; expected U8 [${layers}, ${maskBytes}]`)
  for (const name of header.tensors.keys())
    if (name !== 'layer_masks' && !tensors.has(name)) refuse(`tensor "${name}" is not part of a ${module.kind}`)

  return {
    digest: digestOf(file),
    backbone: metadata.digest('backbone'),
    module,
    layers,
    hiddenSize,
    maskableWeights,
    maskBytes,
    tensors,
    ...(masks && { layerMasks: new Uint8Array(tensorBytes(file, masks)) }),
  }
}

/** Writes a prototype file: readPrototype gives the same prototype again. */
export function serializePrototype(
  prototype: Pick<Prototype, 'backbone' | 'module' | 'layers' | 'hiddenSize' | 'tensors' | 'layerMasks'>,
): Uint8Array {
  const { module, layers, hiddenSize, layerMasks } = prototype
  const { kind, ...config } = module
  const { maskable, unmasked } = moduleTensors(module, hiddenSize)
  const tensors: Record<string, TensorData> = {}
  for (const { name, shape } of [...maskable, ...unmasked]) {
    const values = prototype.tensors.get(name)
    if (values?.length !== elementCount(shape)) throw new Error(`"${name}" is not of shape [${shape}]`)
    const data = new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
    tensors[name] = { dtype: 'F32', shape, data }
  }
  if (layerMasks)
    tensors.layer_masks = { dtype: 'U8', shape: [layers, layerMasks.byteLength / layers], data: layerMasks }
  const metadata = {
    format: prototypeFormat,
    kind,
    config: JSON.stringify(config),
    layers: String(layers),
    hidden_size: String(hiddenSize),
    backbone: prototype.backbone,
  }
  return serializeSafetensors(metadata, tensors)
}

function refuse(message: string): never {
  throw new Problem('invalid_prototype', message)
}

const positive = Type.Integer({ minimum: 1, maximum: 100_000 })
const adapterConfig = Type.Object({
  bottleneck: positive,
  activation: Type.Union([Type.Literal('relu'), Type.Literal('gelu'), Type.Literal('tanh')]),
  scaling: Type.Number(),
})
const loraConfig = Type.Object({ rank: positive, alpha: Type.Number() })
const prefixConfig = Type.Object({ length: positive })

function readModule(metadata: Metadata): ModuleConfig {
  const kind = metadata.choice('kind', ['adapter', 'lora', 'prefix'])
  switch (kind) {
    case 'adapter':
      return { kind, ...metadata.json('config', adapterConfig, '{"bottleneck", "activation", "scaling"}') }
    case 'lora':
      return { kind, ...metadata.json('config', loraConfig, '{"rank", "alpha"}') }
    case 'prefix':
      return { kind, ...metadata.json('config', prefixConfig, '{"length"}') }
  }
}

/** The tensor of a prototype that its kind guarantees. */
export function prototypeTensor(prototype: Prototype, name: string): Float32Array {
  const values = prototype.tensors.get(name)
  if (values === undefined) throw new Error(`a ${prototype.module.kind} prototype has no tensor "${name}"`)
  return values
}
