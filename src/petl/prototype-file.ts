// The prototype file (safetensors): reads it into a checked prototype, and writes it.

import { Type } from 'typebox'
import { digestOf } from '../formats/digest.js'
import { readFileAs } from '../formats/file.js'
import { Metadata } from '../formats/metadata.js'
import {
  isShape,
  parseHeader,
  serializeSafetensors,
  shapeText,
  type TensorData,
  tensorBytes,
  tensorFloats,
} from '../formats/safetensors.js'
import { Problem, quoted } from '../problem.js'
import { type ModuleConfig, moduleKinds, petlKinds, petlModule } from './kinds.js'
import { elementCount, moduleTensors, weightCount } from './module.js'
import type { Prototype } from './prototype.js'

export const prototypeFormat = 'propetl-prototype/1'

/** Name of the prototype file in the directory of its backbone. */
export const prototypeName = 'prototype.safetensors'

/**
 * Reads a prototype file.
 * @throws Problem `not_safetensors` or `invalid_prototype`. If the file is missing, the message says how to make one.
 */
export const readPrototypeFile = (path: string): Promise<Prototype> =>
  readFileAs(
    path,
    'invalid_prototype',
    readPrototype,
    'Every backbone needs its own prototype. Train one with "propetl train --model-dir <directory>" and put it there.',
  )

/**
 * Reads the bytes of a prototype file.
 * @throws Problem `not_safetensors` or `invalid_prototype`
 */
export function readPrototype(file: Uint8Array): Prototype {
  const header = parseHeader(file)
  const metadata = new Metadata(header.metadata, throwInvalidPrototype)
  metadata.choice('format', [prototypeFormat])
  const module = readModule(metadata)
  const layers = metadata.count('layers', 1_000)
  const hiddenSize = metadata.count('hidden_size', 100_000)
  const petl = petlModule(module, hiddenSize)
  const n = weightCount(petl.maskable)
  const maskBytes = Math.ceil(n / 8)

  const tensors = new Map<string, Float32Array>()
  for (const { name, shape } of moduleTensors(petl)) {
    const info = header.tensors.get(name) ?? throwInvalidPrototype(`tensor "${name}" ${shapeText(shape)} is missing`)
    if (!isShape(info.shape, shape))
      throwInvalidPrototype(`tensor "${name}" has shape ${shapeText(info.shape)}; expected ${shapeText(shape)}`)
    const values = tensorFloats(file, name, info)
    if (!values.every(Number.isFinite)) throwInvalidPrototype(`tensor "${name}" contains a value that is not finite`)
    tensors.set(name, values)
  }

  const masks = header.tensors.get('layer_masks')
  if (masks !== undefined && (masks.dtype !== 'U8' || !isShape(masks.shape, [layers, maskBytes])))
    throwInvalidPrototype(
      `layer_masks is ${masks.dtype} ${shapeText(masks.shape)}; expected U8 [${layers}, ${maskBytes}]`,
    )
  for (const name of header.tensors.keys())
    if (name !== 'layer_masks' && !tensors.has(name))
      throwInvalidPrototype(`tensor ${quoted(name)} is not part of ${module.kind} prototypes`)

  return {
    digest: digestOf(file),
    backbone: metadata.digest('backbone'),
    module,
    layers,
    hiddenSize,
    maskableWeights: n,
    maskBytes,
    tensors,
    ...(masks && { layerMasks: new Uint8Array(tensorBytes(file, masks)) }),
    ...(header.metadata.has('learned_on') && {
      learnedOn: metadata.json('learned_on', taskIds, 'an array of task ids'),
    }),
  }
}

/** Writes a prototype file. {@link readPrototype} reads back an equal prototype. */
export function serializePrototype(prototype: Omit<Prototype, 'digest' | 'maskableWeights' | 'maskBytes'>): Uint8Array {
  const { module, layers, hiddenSize, layerMasks, learnedOn } = prototype
  const { kind, ...config } = module
  const tensors: Record<string, TensorData> = {}
  for (const { name, shape } of moduleTensors(petlModule(module, hiddenSize))) {
    const values = prototype.tensors.get(name)
    if (values?.length !== elementCount(shape)) throw new Error(`"${name}" must have shape [${shape}]`)
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
    ...(learnedOn && { learned_on: JSON.stringify(learnedOn) }),
  }
  return serializeSafetensors(metadata, tensors)
}

function throwInvalidPrototype(message: string): never {
  throw new Problem('invalid_prototype', message)
}

const taskIds = Type.Array(Type.String())

/** Settings that the schema does not name are kept, but cannot change the kind. */
function readModule(metadata: Metadata): ModuleConfig {
  const kind = metadata.choice('kind', moduleKinds)
  const { schema, expected } = petlKinds[kind]
  return { ...metadata.json('config', schema, expected), kind } as ModuleConfig
}
