// What a learning run learns and what it leaves alone, as the parameters that its graph takes. The paper's variants
// differ in nothing else.

import type { Dimension } from '../graph/graph.js'
import { type ModuleConfig, petlModule } from '../petl/kinds.js'
import { moduleTensors } from '../petl/module.js'
import type { Combining } from '../petl/task.js'

/** `frozen`: the parameter is needed, and stays as it is. */
export type TrainingState = 'learned' | 'frozen'

/** Masks over the prototype's weights, by what they differ for: each layer, or each task. */
export type MaskPlan =
  | { readonly kind: 'layer'; readonly layer: TrainingState }
  | { readonly kind: 'task'; readonly task: TrainingState }
  | {
      readonly kind: 'layer and task'
      readonly layer: TrainingState
      readonly task: TrainingState
      readonly combine: Exclude<Combining, 'none'>
    }

/** The module in every layer: one prototype for all, under masks, or weights of its own in each (a plain module). */
export type ModulePlan =
  | {
      readonly kind: 'prototype'
      readonly config: ModuleConfig
      readonly weights: TrainingState
      readonly masks: MaskPlan
    }
  | { readonly kind: 'plain'; readonly config: ModuleConfig; readonly weights: TrainingState }

/** `mask`: the graph takes a tensor of 0s and 1s, learned as scores. */
export type ParameterKind = 'weight' | 'mask'

export interface Parameter {
  readonly name: string
  readonly kind: ParameterKind
  readonly shape: readonly number[]
  readonly training: TrainingState
}

/** A parameter that belongs to a tensor of the module: its weights, or a mask of them. */
export interface ModuleParameter extends Parameter {
  /** Name of the module's tensor. */
  readonly tensor: string
  /** Whose it is: the layer's of that number, the task's, or everyone's. */
  readonly owner: number | 'task' | 'all'
  readonly beginsAtZero: boolean
}

/** All that a module's graph takes besides the batch, in an order that does not change. */
export function moduleParameters(plan: ModulePlan, layers: number, hiddenSize: number): readonly ModuleParameter[] {
  const module = petlModule(plan.config, hiddenSize)
  const weights = (owner: number | 'all'): ModuleParameter[] =>
    moduleTensors(module).map(({ name: tensor, shape, beginsAtZero = false }) => {
      const name = owner === 'all' ? tensor : weightName(plan, owner, tensor)
      return { name, kind: 'weight', shape, training: plan.weights, tensor, owner, beginsAtZero }
    })
  const masks = (owner: number | 'task', training: TrainingState): ModuleParameter[] =>
    module.maskable.map(({ name: tensor, shape }) => {
      return { name: maskName(owner, tensor), kind: 'mask', shape, training, tensor, owner, beginsAtZero: false }
    })
  const eachLayer = (make: (layer: number) => ModuleParameter[]) =>
    Array.from({ length: layers }, (_, layer) => make(layer)).flat()
  if (plan.kind === 'plain') return eachLayer(weights)
  const { masks: m } = plan
  return [
    ...weights('all'),
    ...(m.kind === 'task' ? [] : eachLayer((layer) => masks(layer, m.layer))),
    ...(m.kind === 'layer' ? [] : masks('task', m.task)),
  ]
}

/** Name of the mask that a layer or a task has over a tensor of the module. */
export const maskName = (owner: number | 'task', tensor: string): string =>
  owner === 'task' ? `task.mask.${tensor}` : `layer.${owner}.mask.${tensor}`

/** Name of a weight: one for all layers, or one in each. */
export const weightName = (plan: ModulePlan, layer: number, tensor: string): string =>
  plan.kind === 'plain' ? `layer.${layer}.${tensor}` : tensor

/** `linear`, or `dense`: a dense layer and tanh before it, as the heads of the paper's RoBERTa tasks are. */
export const headKinds = ['linear', 'dense'] as const
export type HeadKind = (typeof headKinds)[number]

/** A head on a vector. A graph leaves the number of its outputs open, as 'C'. */
export function headParameters<C extends Dimension>(outputs: C, hiddenSize: number, kind: HeadKind) {
  const linear = <O extends Dimension>(name: string, outputs: O) =>
    [
      { name: `${name}.weight`, kind: 'weight', shape: [outputs, hiddenSize], training: 'learned' },
      { name: `${name}.bias`, kind: 'weight', shape: [outputs], training: 'learned' },
    ] as const
  const output = linear('head', outputs)
  return kind === 'linear' ? output : [...linear('head.dense', hiddenSize), ...output]
}
