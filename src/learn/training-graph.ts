// The graph of a training step: backbone, module with its masks, pooling or word lookup, head, loss, and the gradients
// of the trained parameters. A batch belongs to one task, so the module is a plain matrix product on packed tokens.

import type { Backbone } from '../backbones/backbone.js'
import { encoder, encoderInputs } from '../backbones/encoder.js'
import type { EncoderHooks } from '../backbones/layer-hooks.js'
import { gradients, type Inverses } from '../graph/gradients.js'
import { byName, type Graph, GraphBuilder, type Shape, type Value, type ValuesByName } from '../graph/graph.js'
import {
  add,
  div,
  exp,
  gather,
  linear,
  matmul,
  mul,
  reduceMax,
  reduceSum,
  reshape,
  slice,
  sqrt,
  tanh,
} from '../graph/operators.js'
import { type Packing, packingInverses, pad } from '../graph/packing.js'
import { petlModule } from '../petl/kinds.js'
import { combineMasks } from '../petl/scores.js'
import type { Pooling, ProblemType } from '../petl/task.js'
import type { Loss } from './losses.js'
import {
  type HeadKind,
  headParameters,
  type MaskPlan,
  type ModulePlan,
  maskName,
  moduleParameters,
  type Parameter,
  weightName,
} from './plan.js'
import { problemTraits } from './problem-traits.js'
import type { Unit } from './problems/learned-problem.js'

/** The outputs of a graph for a batch with N labels. */
export type Step =
  /** `vectors`: the input of a head for each text or word, [N,H]; for pairs those of both texts, [2N,H]. */
  | { readonly mode: 'vectors'; readonly unit: Unit }
  /** `logits` [N,C]: the outputs of the head; for pairs, which have no head, the cosines [N,1]. */
  | { readonly mode: 'outputs'; readonly unit: Unit; readonly head: HeadKind }
  /** `loss`, `logits` and, for each trained parameter, `<name>.grad`. */
  | { readonly mode: 'train'; readonly problem: ProblemType; readonly head: HeadKind }

const unitOf = (step: Step): Unit => (step.mode === 'train' ? problemTraits[step.problem].unit : step.unit)

/**
 * Builds the graph of a step on token ids. Its inputs are those of an encoder; `pool_weights` [B,1,S] unless the pooling
 * is `max`, or for words `word_index` [N], the index of each word's first token among the packed tokens; a float32 input for each parameter;
 * and for training `targets` [N,C] and `target_weights` [N,1]. C, the number of outputs of the head, is symbolic, so
 * that one graph serves all tasks of a problem type.
 * @param plan undefined for a head on the bare backbone
 */
export function trainingGraph(
  backbone: Backbone,
  plan: ModulePlan | undefined,
  step: Step,
  pooling: Pooling = 'mean',
): Graph {
  const g = new GraphBuilder()
  const { layers, hiddenSize: H } = backbone.dims
  const unit = unitOf(step)
  const inputs = encoderInputs(g)
  const { packing, keyBias } = inputs
  const head = step.mode === 'vectors' || unit === 'pair' ? [] : headParameters('C', H, step.head)
  const parameters = plan ? [...moduleParameters(plan, layers, H), ...head] : head
  const values = parameterInputs(g, parameters)
  const hooks = plan && plannedModules(g, plan, H, values, packing)
  const hidden = encoder(g, backbone, inputs, { gatherHalf: true, ...(hooks && { hooks }) })
  const vectors =
    unit === 'word'
      ? gather(g, hidden, g.input('word_index', 'int32', ['N']))
      : pooling === 'max'
        ? reduceMax(g, add(g, pad(g, hidden, packing), reshape(g, keyBias, ['B', 'S', 1])), [1])
        : reshape(g, matmul(g, g.input('pool_weights', 'float32', ['B', 1, 'S']), pad(g, hidden, packing)), ['B', H])
  if (step.mode === 'vectors') return g.build([g.output('vectors', vectors)])
  const logits = unit === 'pair' ? cosines(g, vectors) : headOutputs(g, vectors, values, step.head)
  if (step.mode === 'outputs') return g.build([g.output('logits', logits)])
  // 1 at tokens and 0 at padding, because the key bias is 0 at tokens and −10,000 at padding.
  const present = exp(g, reshape(g, keyBias, ['B', 'S', 1]))
  return trainingOutputs(
    g,
    logits,
    parameters,
    values,
    problemTraits[step.problem].loss,
    packingInverses(packing, present),
  )
}

/**
 * Builds the graph of a head on precomputed vectors: the input `vectors` [N,H] replaces the tokens.
 * @param loss undefined if only the outputs are needed
 */
export function headGraph(hiddenSize: number, head: HeadKind, loss?: Loss): Graph {
  const g = new GraphBuilder()
  const vectors = g.input('vectors', 'float32', ['N', hiddenSize])
  const parameters = headParameters('C', hiddenSize, head)
  const values = parameterInputs(g, parameters)
  const logits = headOutputs(g, vectors, values, head)
  return loss ? trainingOutputs(g, logits, parameters, values, loss) : g.build([g.output('logits', logits)])
}

type GraphParameter = Pick<Parameter, 'name' | 'training'> & { readonly shape: Shape }

const parameterInputs = (g: GraphBuilder, parameters: readonly GraphParameter[]): ValuesByName =>
  byName(parameters.map(({ name, shape }) => [name, g.input(name, 'float32', shape)]))

/** The modules of all layers with the masks of the plan. All rows of the batch share the weights. */
function plannedModules(
  g: GraphBuilder,
  plan: ModulePlan,
  hiddenSize: number,
  values: ValuesByName,
  packing: Packing,
): EncoderHooks {
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

function layerMask(g: GraphBuilder, masks: MaskPlan, values: ValuesByName, layer: number, tensor: string): Value {
  switch (masks.kind) {
    case 'layer':
      return values(maskName(layer, tensor))
    case 'task':
      return values(maskName('task', tensor))
    case 'layer and task':
      return combineMasks(g, masks.combine, values(maskName(layer, tensor)), values(maskName('task', tensor)))
  }
}

function headOutputs(g: GraphBuilder, vectors: Value, values: ValuesByName, head: HeadKind): Value {
  const dense = (x: Value) => tanh(g, linear(g, x, values('head.dense.weight'), values('head.dense.bias')))
  return linear(g, head === 'dense' ? dense(vectors) : vectors, values('head.weight'), values('head.bias'))
}

/** The cosine similarity of the two vectors of each pair: [N,1] from [2N,H], in which the vectors of a pair are adjacent. */
function cosines(g: GraphBuilder, vectors: Value): Value {
  const [, H = 0] = vectors.shape
  const pairs = reshape(g, vectors, [-1, 2, H], 'N')
  const [a, b] = [slice(g, pairs, 1, 0, 1), slice(g, pairs, 1, 1, 2)]
  const dot = (x: Value, y: Value) => reduceSum(g, mul(g, x, y), [2])
  return div(g, dot(a, b), sqrt(g, mul(g, dot(a, a), dot(b, b))))
}

function trainingOutputs(
  g: GraphBuilder,
  logits: Value,
  parameters: readonly GraphParameter[],
  values: ValuesByName,
  loss: Loss,
  inverses?: Inverses,
): Graph {
  const [N = 'N', C = 'C'] = logits.shape
  const targets = g.input('targets', 'float32', [N, C])
  const weights = g.input('target_weights', 'float32', [N, 1])
  const sum = reduceSum(g, mul(g, loss.terms(g, logits, targets), weights), [0, 1])
  const trained = parameters.filter(({ training }) => training === 'trained').map(({ name }) => values(name))
  const gradientValues = gradients(g, sum, trained, inverses)
  const named = gradientValues.map((gradient, at) => g.output(`${trained[at]?.name}.grad`, gradient))
  return g.build([g.output('loss', sum), g.output('logits', logits), ...named])
}
