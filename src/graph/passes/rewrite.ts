// How a pass changes a graph: a rule receives each node in order and may return a replacement. Nodes, constants and
// inputs that are no longer used are removed.

import { type Constant, type Graph, GraphBuilder, type Node, type Value } from '../graph.js'

/** Makes a graph from a graph. A pass knows operators but no model. */
export type Pass = (graph: Graph) => Graph

/** What a rule can ask about the old graph, and how it adds to the new one. */
export interface Rewriting {
  readonly g: GraphBuilder
  /** The node that produces an old value. Undefined for inputs and constants. */
  readonly producer: (old: Value) => Node | undefined
  /** The constant that an old value is. Undefined for other values. */
  readonly constant: (old: Value) => Constant | undefined
  /** Number of nodes and outputs of the old graph that use an old value. */
  readonly uses: (old: Value) => number
  /** The value of the new graph that stands for an old value. */
  readonly toNew: (old: Value) => Value
  /** Makes later nodes use the value `by` of the new graph for an old value. */
  readonly replace: (old: Value, by: Value) => void
}

/** @returns new values for the node's outputs, or undefined to keep the node */
export type Rule = (node: Node, rewriting: Rewriting) => readonly (Value | undefined)[] | undefined

export const applyAll = (graph: Graph, passes: readonly Pass[]): Graph =>
  passes.reduce((changed, pass) => pass(changed), graph)

export function rewrite(graph: Graph, rule: Rule): Graph {
  const g = new GraphBuilder()
  const producers = new Map<Value, Node>()
  const uses = new Map<Value, number>()
  const use = (value: Value) => uses.set(value, (uses.get(value) ?? 0) + 1)
  for (const node of graph.nodes) {
    for (const output of node.outputs) if (output) producers.set(output, node)
    for (const input of node.inputs) if (input) use(input)
  }
  for (const output of graph.outputs) use(output)

  const counterparts = new Map<Value, Value>()
  for (const value of graph.inputs) counterparts.set(value, g.input(value.name, value.dtype, value.shape))
  const constants = new Map(graph.constants.map((constant) => [constant.value, constant]))
  for (const { value, data } of graph.constants)
    counterparts.set(value, g.constant(value.name, value.dtype, value.shape as readonly number[], data))
  const rewriting: Rewriting = {
    g,
    producer: (old) => producers.get(old),
    constant: (old) => constants.get(old),
    uses: (old) => uses.get(old) ?? 0,
    toNew: (old) => {
      const value = counterparts.get(old)
      if (value === undefined) throw new Error(`"${old.name}" is used before a node produces it`)
      return value
    },
    replace: (old, by) => counterparts.set(old, by),
  }

  const isOutput = new Set<Value>(graph.outputs)
  for (const node of graph.nodes) {
    const [first] = node.outputs
    if (isOutput.has(first)) {
      const [input] = node.inputs
      const [value = input && rewriting.toNew(input)] = rule(node, rewriting) ?? []
      if (value === undefined) throw new Error(`the output "${first.name}" has no value`)
      counterparts.set(first, g.output(first.name, value))
      continue
    }
    const changed = rule(node, rewriting) ?? copyOf(node, rewriting)
    for (const [at, old] of node.outputs.entries()) {
      const value = changed[at]
      if (old && value) counterparts.set(old, value)
    }
  }
  return pruned(g.build(graph.outputs.map(rewriting.toNew)))
}

/** Copies a node to the new graph. */
export function copyOf(node: Node, { g, toNew }: Pick<Rewriting, 'g' | 'toNew'>): readonly (Value | undefined)[] {
  const [first, ...others] = node.outputs
  const inputs = node.inputs.map((input) => input && toNew(input))
  return withOthers(g, g.node(node.operator, inputs, first, node), others)
}

/** Adds further outputs to the node that produces `first`, with names derived from its name. */
export function withOthers(
  g: GraphBuilder,
  first: Value,
  others: readonly (Pick<Value, 'dtype' | 'shape'> | undefined)[],
): readonly (Value | undefined)[] {
  const found = others.map((other, at) => {
    if (other === undefined) return undefined
    const [value] = g.addOutputs(first, [{ ...other, name: `${first.name}_${at + 1}` }], at + 1)
    return value
  })
  return [first, ...found]
}

/** The graph without nodes, constants and inputs that its outputs do not depend on. */
function pruned(graph: Graph): Graph {
  const needed = new Set<Value>(graph.outputs)
  const nodes = graph.nodes.toReversed().filter(({ inputs, outputs }) => {
    if (!outputs.some((output) => output && needed.has(output))) return false
    for (const input of inputs) if (input) needed.add(input)
    return true
  })
  return {
    inputs: graph.inputs.filter((value) => needed.has(value)),
    outputs: graph.outputs,
    constants: graph.constants.filter(({ value }) => needed.has(value)),
    nodes: nodes.toReversed(),
  }
}

/** Removes Identity nodes before outputs: the node that produces the value gets the name of the output. */
export const nameOutputs: Pass = (graph) => {
  const producers = new Map(graph.nodes.flatMap((node) => node.outputs.map((output) => [output, node] as const)))
  const isOutput = new Set(graph.outputs)
  const named = new Map<Value, Value>()
  for (const output of graph.outputs) {
    const copy = producers.get(output)
    const [source] = copy?.inputs ?? []
    if (copy?.operator === 'Identity' && source && producers.has(source) && !isOutput.has(source) && !named.has(source))
      named.set(source, output)
  }
  const nameOf = (value: Value): Value => named.get(value) ?? value
  const isNamed = ({ operator, inputs: [source], outputs: [output] }: Node) =>
    operator === 'Identity' && source !== undefined && named.get(source) === output
  const renamed = (node: Node): Node => {
    const [first, ...others] = node.outputs
    return {
      ...node,
      inputs: node.inputs.map((value) => value && nameOf(value)),
      outputs: [nameOf(first), ...others.map((value) => value && nameOf(value))],
    }
  }
  return { ...graph, nodes: graph.nodes.filter((node) => !isNamed(node)).map(renamed) }
}
