// Patterns of operators: what a value must have been made by, down to values of any origin, which get names.

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

/** Any value. A name that occurs twice must be the same value both times. */
export const any = (name: string): Pattern => ({ kind: 'any', name })

/** A constant, or a converted one. */
export const constant = (name: string): Pattern => ({ kind: 'constant', name })

/** What an operator made from inputs of these patterns, with these of its attributes. */
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

/** @returns the named values, or undefined if the value is not of the pattern */
export function match(pattern: Pattern, value: Value, origins: Origins): ValuesByName | undefined {
  const found = new Map<string, Value>()
  return matches(pattern, value, origins, found) ? byName(found) : undefined
}

/** The constant that a value is, or that it was converted from. */
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
