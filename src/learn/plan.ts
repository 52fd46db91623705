// The parameters of a training graph: which are trained and which are frozen. The variants of the paper differ only in
// this plan.

import type { Dimension } from '../graph/graph.js'
import { type ModuleConfig, petlModule } from '../petl/kinds.js'
import { moduleTensors } from '../petl/module.js'
import type { Prototype } from '../petl/prototype.js'
import type { Combining } from '../petl/task.js'
import { Problem } from '../problem.js'

/** `frozen`: the graph uses the parameter, and training does not change it. */
export type TrainingState = 'trained' | 'frozen'

/** Masks over the prototype's weights: one per layer, one per task, or both combined. */
export type MaskPlan =
  | { readonly kind: 'layer'; readonly layer: TrainingState }
  | { readonly kind: 'task'; readonly task: TrainingState }
  | {
      readonly kind: 'layer and task'
      readonly layer: TrainingState
      readonly task: TrainingState
      readonly combine: Exclude<Combining, 'none'>
    }

/** The module in every layer: one shared prototype under masks, or separate weights in each layer (a plain module). */
export type ModulePlan =
  | {
      readonly kind: 'prototype'
      readonly config: ModuleConfig
      readonly weights: TrainingState
      readonly masks: MaskPlan
    }
  | { readonly kind: 'plain'; readonly config: ModuleConfig; readonly weights: TrainingState }

/** `mask`: the graph takes a tensor of 0s and 1s; training changes the scores that it is made of. */
export type ParameterKind = 'weight' | 'mask'

export interface Parameter {
  readonly name: string
  readonly kind: ParameterKind
  readonly shape: readonly number[]
  readonly training: TrainingState
}

/** A parameter of the module: the weights of one of its tensors, or a mask over them. */
export interface ModuleParameter extends Parameter {
  /** Name of the module's tensor. */
  readonly tensor: string
  /** What it belongs to: a layer (by index), the task, or all layers and tasks. */
  readonly owner: number | 'task' | 'all'
  readonly beginsAtZero: boolean
}

/** How the mask of a new task is made. */
export interface MaskForm {
  /** One mask per layer, or one for all layers. */
  readonly maskRows: 'layer' | 'one'
  /** How the mask is combined with the prototype's layer masks. All but `none` need one mask for all layers. */
  readonly combine: Combining
}

/** The parameters that the graph of a module takes, in a fixed order. */
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
  const inEachLayer = (make: (layer: number) => ModuleParameter[]) =>
    Array.from({ length: layers }, (_, layer) => make(layer)).flat()
  if (plan.kind === 'plain') return inEachLayer(weights)
  const { masks: m } = plan
  return [
    ...weights('all'),
    ...(m.kind === 'task' ? [] : inEachLayer((layer) => masks(layer, m.layer))),
    ...(m.kind === 'layer' ? [] : masks('task', m.task)),
  ]
}

/** Name of the mask of a layer or of the task over a tensor of the module. */
export const maskName = (owner: number | 'task', tensor: string): string =>
  owner === 'task' ? `task.mask.${tensor}` : `layer.${owner}.mask.${tensor}`

/** Name of a weight: shared by all layers, or of one layer. */
export const weightName = (plan: ModulePlan, layer: number, tensor: string): string =>
  plan.kind === 'plain' ? `layer.${layer}.${tensor}` : tensor

/** `dense` has a dense layer with tanh before the linear one, as the heads of the paper's RoBERTa tasks have. */
export const headKinds = ['linear', 'dense'] as const
export type HeadKind = (typeof headKinds)[number]

/** The parameters of a head. A graph uses the symbolic dimension 'C' for the number of outputs. */
export function headParameters<C extends Dimension>(outputs: C, hiddenSize: number, kind: HeadKind) {
  const linear = <O extends Dimension>(name: string, outputs: O) =>
    [
      { name: `${name}.weight`, kind: 'weight', shape: [outputs, hiddenSize], training: 'trained' },
      { name: `${name}.bias`, kind: 'weight', shape: [outputs], training: 'trained' },
    ] as const
  const output = linear('head', outputs)
  return kind === 'linear' ? output : [...linear('head.dense', hiddenSize), ...output]
}

/**
 * The plan of a new task on a frozen prototype.
 * @throws Problem `invalid_setting` if the masks cannot be combined in this way
 */
export function taskPlan(prototype: Prototype, { maskRows, combine }: MaskForm): ModulePlan {
  const masks = (): MaskPlan => {
    if (maskRows === 'layer') {
      if (combine === 'none') return { kind: 'layer', layer: 'trained' }
      throw new Problem(
        'invalid_setting',
        `--combine ${combine} needs one mask for all layers; add --mask-rows one, or remove --combine`,
      )
    }
    if (combine === 'none') return { kind: 'task', task: 'trained' }
    if (prototype.layerMasks) return { kind: 'layer and task', layer: 'frozen', task: 'trained', combine }
    throw new Problem(
      'invalid_setting',
      `--combine ${combine} needs a prototype with layer masks, and this one has none; remove --combine`,
    )
  }
  return { kind: 'prototype', config: prototype.module, weights: 'frozen', masks: masks() }
}
