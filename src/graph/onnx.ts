// Serialises a graph as an ONNX model, with the Protobuf classes of onnx-proto.

import onnxProto from 'onnx-proto'
import type { Attribute, Constant, DataType, Dimension, Graph, Node, Value } from './graph.js'

const { onnx } = onnxProto

/** The version of ONNX's operator set that operators.ts uses. */
const operatorSet = 20
const irVersion = 9

const elementType: Record<DataType, number> = {
  float32: onnx.TensorProto.DataType.FLOAT,
  float16: onnx.TensorProto.DataType.FLOAT16,
  bfloat16: onnx.TensorProto.DataType.BFLOAT16,
  int32: onnx.TensorProto.DataType.INT32,
  int64: onnx.TensorProto.DataType.INT64,
  int8: onnx.TensorProto.DataType.INT8,
  uint8: onnx.TensorProto.DataType.UINT8,
  uint16: onnx.TensorProto.DataType.UINT16,
  uint32: onnx.TensorProto.DataType.UINT32,
  bool: onnx.TensorProto.DataType.BOOL,
}

/** Serialises a graph. Constants that are file ranges become external data with paths relative to the model's folder. */
export function serializeOnnx(graph: Graph): Uint8Array {
  const model = onnx.ModelProto.create({
    irVersion,
    producerName: 'propetl',
    opsetImport: [
      { domain: '', version: operatorSet },
      { domain: 'com.microsoft', version: 1 },
    ],
    graph: {
      name: 'propetl',
      input: graph.inputs.map(valueInfo),
      output: graph.outputs.map(valueInfo),
      initializer: graph.constants.map(initializer),
      node: graph.nodes.map(nodeProto),
    },
  })
  return onnx.ModelProto.encode(model).finish()
}

/** ONNX's number of an element type, such as the attribute `to` of Cast. */
export const onnxElementType = (dtype: DataType): number => elementType[dtype]

const valueInfo = ({ name, dtype, shape }: Value) => ({
  name,
  type: { tensorType: { elemType: elementType[dtype], shape: { dim: shape.map(dimension) } } },
})

const dimension = (dim: Dimension) => (typeof dim === 'number' ? { dimValue: dim } : { dimParam: dim })

function initializer({ value, data }: Constant) {
  const tensor = { name: value.name, dataType: elementType[value.dtype], dims: [...value.shape] as number[] }
  if (data instanceof Uint8Array) return { ...tensor, rawData: data }
  return {
    ...tensor,
    dataLocation: onnx.TensorProto.DataLocation.EXTERNAL,
    externalData: [
      { key: 'location', value: data.file },
      { key: 'offset', value: String(data.offset) },
      { key: 'length', value: String(data.length) },
    ],
  }
}

const nodeProto = (node: Node) => ({
  opType: node.operator,
  domain: node.domain,
  name: node.outputs[0].name,
  input: node.inputs.map((value) => value?.name ?? ''),
  output: node.outputs.map((value) => value?.name ?? ''),
  attribute: Object.entries(node.attributes).map(([name, value]) => ({ name, ...attribute(value) })),
})

function attribute(value: Attribute) {
  const { AttributeType } = onnx.AttributeProto
  if (typeof value === 'number') return { type: AttributeType.INT, i: value }
  if (typeof value === 'string') return { type: AttributeType.STRING, s: Buffer.from(value, 'utf8') }
  if ('float' in value) return { type: AttributeType.FLOAT, f: value.float }
  return { type: AttributeType.INTS, ints: [...value] }
}
