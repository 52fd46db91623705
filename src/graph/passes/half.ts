// Half precision: float32 computations become float16, weights included. Nodes that depend on inputs that must stay exact
// remain float32, and so do computations with weights alone, because onnxruntime does them once when it loads the model.

import type { DataType, Graph, Node, Value } from '../graph.js'
import { cast } from '../operators.js'
import { type Pass, rewrite, withOthers } from './rewrite.js'

/** Operators that only move data. Of constants, they move the type that their users need. */
const dataMovement = new Set(['Gather', 'Reshape', 'RestorePadding'])
/** Operators whose result from constants is no better in float32. */
const keepsValues = new Set([...dataMovement, 'Cast', 'Concat', 'Slice', 'Split', 'Transpose'])

/**
 * @param exactInputs names of float32 inputs. Everything that depends on them stays float32, and so do the outputs.
 */
export const toFloat16 =
  (exactInputs: ReadonlySet<string>): Pass =>
  (graph) => {
    const exact = exactNodes(graph, exactInputs)
    const casts = new Map<string, Value>()
    return rewrite(graph, (node, { g, toNew }) => {
      const type: DataType = exact.has(node) ? 'float32' : 'float16'
      const typed = (old: Value): Value => {
        const value = toNew(old)
        if (old.dtype !== 'float32' || value.dtype === type) return value
        const key = `${value.name} ${type}`
        const known = casts.get(key) ?? cast(g, value, type)
        casts.set(key, known)
        return known
      }
      const [input] = node.inputs
      const [first, ...others] = node.outputs
      if (node.operator === 'Cast' && first.dtype === 'float32' && input) return [cast(g, typed(input), type)]
      const inputs = node.inputs.map((old) => old && typed(old))
      if (graph.outputs.includes(first)) return inputs.slice(0, 1)
      const converted = ({ shape, dtype }: Value): Pick<Value, 'dtype' | 'shape'> => ({
        shape,
        dtype: dtype === 'float32' ? type : dtype,
      })
      const y = g.node(node.operator, inputs, converted(first), node)
      return withOthers(
        g,
        y,
        others.map((other) => other && converted(other)),
      )
    })
  }

function exactNodes({ nodes, outputs, constants }: Graph, inputs: ReadonlySet<string>): ReadonlySet<Node> {
  const exactValues = new Set<Value>()
  const constantValues = new Set(constants.map(({ value }) => value))
  const exact = new Set<Node>()
  for (const node of nodes) {
    if (node.inputs.every((value) => value === undefined || constantValues.has(value))) {
      for (const output of node.outputs) if (output) constantValues.add(output)
      if (!keepsValues.has(node.operator)) exact.add(node)
      continue
    }
    if (outputs.includes(node.outputs[0])) exact.add(node)
    else if (!node.inputs.some((value) => value && (inputs.has(value.name) || exactValues.has(value)))) continue
    exact.add(node)
    for (const output of node.outputs) if (output) exactValues.add(output)
  }
  for (const node of nodes.toReversed()) {
    const [x] = node.inputs
    const [y] = node.outputs
    // Values that are computed in float16 are moved before they are converted: this moves fewer bytes.
    if (!dataMovement.has(node.operator) || !x || !constantValues.has(x)) continue
    const users = nodes.filter(({ inputs }) => inputs.includes(y))
    if (users.length > 0 && users.every((user) => exact.has(user))) exact.add(node)
  }
  return exact
}
