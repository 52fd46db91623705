// Patterns of operators: which operators must have produced a value, down to named values of any origin.

import { byName, type Constant, type Node, type Value, type ValuesByName } from '../graph.js'

export type Pattern =
  | { readonly kind: 'any'; readonly name: string }
  | { readonly kind: 'constant'; readonly name: string }
  | {
      readonly kind: 'produced'
      readonly operator: string
      readonly inputs: readonly Pattern[]
      readonly attributes: Node['attributes']
      readonly name?: string
    }

/** Any value. If a name occurs twice in a pattern, both must be the same value. */
export const any = (name: string): Pattern => ({ kind: 'any', name })

/** A constant, possibly converted by Cast. */
export const constant = (name: string): Pattern => ({ kind: 'constant', name })

/** The first output of an operator with these inputs and at least these attributes. */
export const producedBy = (
  operator: string,
  inputs: readonly Pattern[],
  attributes: Node['attributes'] = {},
  name?: string,
): Pattern => ({ kind: 'produced', operator, inputs, attributes, ...(name !== undefined && { name }) })

interface Origins {
  readonly producer: (value: Value) => Node | undefined
  readonly constant: (value: Value) => Constant | undefined
}

/** @returns the named values, or undefined if the value does not match the pattern */
export function match(pattern: Pattern, value: Value, origins: Origins): ValuesByName | undefined {
  const found = new Map<string, Value>()
  return matches(pattern, value, origins, found) ? byName(found) : undefined
}

/** The constant that a value is, or from which it was converted. */
export function constantOf(value: Value, { producer, constant }: Origins): Constant | undefined {
  const node = producer(value)
  return constant(value) ?? (node?.operator === 'Cast' && node.inputs[0] ? constant(node.inputs[0]) : undefined)
}

function matches(pattern: Pattern, value: Value, origins: Origins, found: Map<string, Value>): boolean {
  if (pattern.kind === 'produced') {
    const node = origins.producer(value)
    if (node?.operator !== pattern.operator || node.outputs[0] !== value) return false
    for (const [name, wanted] of Object.entries(pattern.attributes))
      if (JSON.stringify(node.attributes[name]) !== JSON.stringify(wanted)) return false
    const all = pattern.inputs.every((input, at) => {
      const given = node.inputs[at]
      return given !== undefined && matches(input, given, origins, found)
    })
    if (!all) return false
  }
  if (pattern.kind === 'constant' && constantOf(value, origins) === undefined) return false
  if (pattern.name === undefined) return true
  if ((found.get(pattern.name) ?? value) !== value) return false
  found.set(pattern.name, value)
  return true
}
