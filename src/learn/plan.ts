// What a learning run learns and what it leaves alone, as the parameters that its graph takes. The paper's variants
// differ in nothing else.

import type { Dimension } from '../graph/graph.js'
import type { AdapterConfig } from '../petl/adapter.js'

/**
 * `multi`: one prototype, a mask a layer and a mask a task, combined. `single`: one prototype and a mask a layer, for
 * one task. `plain`: weights of its own in every layer, for one task. `head`: no module at all, for one task.
 */
export const methods = ['multi', 'single', 'plain', 'head'] as const
export type Method = (typeof methods)[number]

/** `frozen`: the parameter is needed, and stays as it is. */
export type Training = 'learned' | 'frozen'

/** Masks over the prototype's weights, by what they differ for: each layer, or each task. */
export type MaskPlan =
  | { readonly kind: 'layer'; readonly layer: Training }
  | { readonly kind: 'task'; readonly task: Training }
  | {
      readonly kind: 'layer and task'
      readonly layer: Training
      readonly task: Training
      readonly combine: 'or' | 'and'
    }

/** The module in every layer: one prototype for all, under masks, or weights of its own in each (plain adapters). */
export type ModulePlan =
  | {
      readonly kind: 'prototype'
      readonly config: AdapterConfig
      readonly weights: Training
      readonly masks: MaskPlan
    }
  | { readonly kind: 'plain'; readonly config: AdapterConfig; readonly weights: Training }

/** `mask`: the graph takes a tensor of 0s and 1s, learned as scores. */
export type ParameterKind = 'weight' | 'mask'

export interface Parameter {
  readonly name: string
  readonly kind: ParameterKind
  readonly shape: readonly number[]
  readonly training: Training
}

/** Names of an adapter's maskable tensors, `down` and `up`, and of its biases; one set for all layers or one each. */
export const weightPrefix = (plan: ModulePlan, layer: number): string =>
  plan.kind === 'plain' ? `layer.${layer}.` : ''

/** All that a module's graph takes besides the batch, in an order that does not change. */
export function moduleParameters(plan: ModulePlan, layers: number, hiddenSize: number): readonly Parameter[] {
  const { bottleneck: r } = plan.config
  const H = hiddenSize
  const weights = (prefix: string): Parameter[] =>
    (
      [
        ['down.weight', [r, H]],
        ['down.bias', [r]],
        ['up.weight', [H, r]],
        ['up.bias', [H]],
      ] as const
    ).map(([name, shape]) => ({ name: prefix + name, kind: 'weight', shape, training: plan.weights }))
  const masks = (prefix: string, training: Training): Parameter[] => [
    { name: `${prefix}.mask.down`, kind: 'mask', shape: [r, H], training },
    { name: `${prefix}.mask.up`, kind: 'mask', shape: [H, r], training },
  ]
  const eachLayer = (make: (layer: number) => Parameter[]) =>
    Array.from({ length: layers }, (_, layer) => make(layer)).flat()
  if (plan.kind === 'plain') return eachLayer((layer) => weights(weightPrefix(plan, layer)))
  const { masks: m } = plan
  return [
    ...weights(''),
    ...(m.kind === 'task' ? [] : eachLayer((layer) => masks(`layer.${layer}`, m.layer))),
    ...(m.kind === 'layer' ? [] : masks('task', m.task)),
  ]
}

/** A linear head on the pooled row. A graph leaves the number of its outputs open, as 'C'. */
export const headParameters = <C extends Dimension>(outputs: C, hiddenSize: number) =>
  [
    { name: 'head.weight', kind: 'weight', shape: [outputs, hiddenSize], training: 'learned' },
    { name: 'head.bias', kind: 'weight', shape: [outputs], training: 'learned' },
  ] as const
