// The graph of a learning step: backbone, module under its masks, pooling, head, loss, and the gradients of what is
// learned. All rows of a batch belong to one task, so the module is a plain matrix product on packed tokens.

import type { Backbone } from '../backbones/backbone.js'
import { encoder, encoderInputs } from '../backbones/encoder.js'
import { gradients, type Inverses } from '../graph/gradients.js'
import { type Graph, GraphBuilder, type Shape, type Value } from '../graph/graph.js'
import { exp, linear, logSoftmax, matmul, mul, reduceSum, reshape, scale, softplus, sub } from '../graph/operators.js'
import { type Packing, packingInverses, pad } from '../graph/packing.js'
import type { LayerModules } from '../petl/module.js'
import { petlModule } from '../petl/modules.js'
import { combineMasks } from '../petl/scores.js'
import type { LearnableProblem } from './labels.js'
import {
  headParameters,
  type MaskPlan,
  type ModulePlan,
  maskName,
  moduleParameters,
  type Parameter,
  weightName,
} from './plan.js'

export interface Step {
  /** `forward` gives `pooled` and `logits`; `learn` gives `loss`, `logits` and, for what is learned, `<name>.grad`. */
  readonly mode: 'forward' | 'learn'
  readonly problem: LearnableProblem
}

/**
 * Builds the graph of a step on token ids. Inputs: those of an encoder, `pool_weights` [B,1,S], a float32 input for each
 * parameter and, to learn, `targets` [B,C] and `row_weights` [B,1], by which the rows' losses are summed. C, the
 * head's outputs, is open: one graph serves all tasks of a problem type.
 * @param plan absent for the bare backbone under a head
 */
export function trainingGraph(backbone: Backbone, plan: ModulePlan | undefined, step: Step): Graph {
  const g = new GraphBuilder()
  const { num_hidden_layers: layers, hidden_size: H } = backbone.config
  const inputs = encoderInputs(g)
  const { packing, keyBias } = inputs
  const poolWeights = g.input('pool_weights', 'float32', ['B', 1, 'S'])
  const head = headParameters('C', H)
  const parameters = plan ? [...moduleParameters(plan, layers, H), ...head] : head
  const values = parameterInputs(g, parameters)
  const modules = plan && plannedModules(g, plan, H, values, packing)
  const hidden = encoder(g, backbone, inputs, { gatherHalf: true, ...(modules && { modules }) })
  const pooled = reshape(g, matmul(g, poolWeights, pad(g, hidden, packing)), ['B', H])
  // 1 at a row's tokens and 0 at its padding, for the key bias is 0 at the one and −10,000 at the other.
  const present = exp(g, reshape(g, keyBias, ['B', 'S', 1]))
  return finish(g, pooled, parameters, values, step, packingInverses(packing, present))
}

/** The same on pooled rows that were computed before: input `pooled` [B,H] in place of the tokens, and a head alone. */
export function headGraph(hiddenSize: number, step: Step): Graph {
  const g = new GraphBuilder()
  const pooled = g.input('pooled_rows', 'float32', ['B', hiddenSize])
  const parameters = headParameters('C', hiddenSize)
  return finish(g, pooled, parameters, parameterInputs(g, parameters), step)
}

type GraphParameter = Pick<Parameter, 'name' | 'training'> & { readonly shape: Shape }
type Values = (name: string) => Value

function parameterInputs(g: GraphBuilder, parameters: readonly GraphParameter[]): Values {
  const values = new Map(parameters.map(({ name, shape }) => [name, g.input(name, 'float32', shape)]))
  return (name) => {
    const value = values.get(name)
    if (value === undefined) throw new Error(`the plan has no parameter "${name}"`)
    return value
  }
}

/** The module of every layer under the plan's masks; all rows share its weights. */
function plannedModules(
  g: GraphBuilder,
  plan: ModulePlan,
  hiddenSize: number,
  values: Values,
  packing: Packing,
): LayerModules {
  const module = petlModule(plan.config, hiddenSize)
  const masked = new Set(plan.kind === 'plain' ? [] : module.maskable.map(({ name }) => name))
  return (layer) => {
    const weights = (tensor: string) => {
      const weight = values(weightName(plan, layer, tensor))
      return plan.kind === 'prototype' && masked.has(tensor)
        ? mul(g, weight, layerMask(g, plan.masks, values, layer, tensor))
        : weight
    }
    return module.layer(g, weights, packing)
  }
}

function layerMask(g: GraphBuilder, masks: MaskPlan, values: Values, layer: number, tensor: string): Value {
  switch (masks.kind) {
    case 'layer':
      return values(maskName(layer, tensor))
    case 'task':
      return values(maskName('task', tensor))
    case 'layer and task':
      return combineMasks(g, masks.combine, values(maskName(layer, tensor)), values(maskName('task', tensor)))
  }
}

function finish(
  g: GraphBuilder,
  pooled: Value,
  parameters: readonly GraphParameter[],
  values: Values,
  { mode, problem }: Step,
  inverses?: Inverses,
): Graph {
  const logits = linear(g, pooled, values('head.weight'), values('head.bias'))
  if (mode === 'forward') return g.build([g.output('pooled', pooled), g.output('logits', logits)])
  const targets = g.input('targets', 'float32', ['B', 'C'])
  const rowWeights = g.input('row_weights', 'float32', ['B', 1])
  const loss = reduceSum(g, mul(g, rowLosses(g, problem, logits, targets), rowWeights), [0, 1])
  const learned = parameters.filter(({ training }) => training === 'learned').map(({ name }) => values(name))
  const found = gradients(g, loss, learned, inverses)
  const named = found.map((gradient, at) => g.output(`${learned[at]?.name}.grad`, gradient))
  return g.build([g.output('loss', loss), g.output('logits', logits), ...named])
}

/** What is summed over columns and, by the rows' weights, over rows. */
function rowLosses(g: GraphBuilder, problem: LearnableProblem, logits: Value, targets: Value): Value {
  switch (problem) {
    case 'single_label_classification':
      return scale(g, mul(g, targets, logSoftmax(g, logits)), -1)
    case 'multi_label_classification':
      return sub(g, softplus(g, logits), mul(g, logits, targets))
    case 'regression': {
      const error = sub(g, logits, targets)
      return mul(g, error, error)
    }
  }
}
