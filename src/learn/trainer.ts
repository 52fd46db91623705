// Trains one step at a time: it holds the tensors of a module, the sessions of its graphs, and the optimiser.
// training.ts decides which examples come next and when to stop.

import type { Backbone } from '../backbones/backbone.js'
import { maskFromScores, straightThroughGradient } from '../petl/scores.js'
import type { Pooling, ProblemType } from '../petl/task.js'
import { GraphSession } from '../runtime/graph-session.js'
import { packRows } from '../runtime/packed-rows.js'
import { type Compute, maxRunTokens } from '../runtime/providers.js'
import {
  exampleTokens,
  type GraphInputs,
  labelCount,
  poolInputs,
  splitByTokens,
  targetInputs,
  targetWeights,
  textInputs,
  wordInputs,
} from './batches.js'
import type { EncodedExample } from './example-set.js'
import { AdamW } from './optimiser.js'
import type { HeadKind, ModulePlan } from './plan.js'
import { problemTraits } from './problem-traits.js'
import type { Unit } from './problems/learned-problem.js'
import { throwDiverged } from './run-progress.js'
import type { Tensor } from './tensors.js'
import { type Step, trainingGraph } from './training-graph.js'

/** Learning rates of module weights, of the scores of masks, and of heads. */
export interface Rates {
  readonly weights: number
  readonly scores: number
  readonly heads: number
}

export interface TrainerOptions extends Compute {
  readonly rates: Rates
  /** k: share of a mask's entries that are 1. */
  readonly density: number
  readonly weightDecay: number
  readonly pooling: Pooling
}

/** The tensors of one task: its mask, if each task has one, and its head, if it has one. */
export interface TaskModel {
  readonly problem: ProblemType
  /** Ignored if the problem type has no head. */
  readonly head: HeadKind
  readonly tensors: readonly Tensor[]
}

export class Trainer {
  readonly #optimiser: AdamW
  readonly #masks = new Map<Tensor, Float32Array>()
  readonly #sessions: Map<string, GraphSession>

  /** @param shared the tensors of the module that all tasks share */
  constructor(
    readonly backbone: Backbone,
    readonly plan: ModulePlan | undefined,
    readonly shared: readonly Tensor[],
    readonly options: TrainerOptions,
    sessions = new Map<string, GraphSession>(),
  ) {
    this.#sessions = sessions
    this.#optimiser = new AdamW({ weightDecay: options.weightDecay })
  }

  /** A trainer of other tensors of the same shapes, with an optimiser of its own. It shares the sessions. */
  withTensors(shared: readonly Tensor[]): Trainer {
    return new Trainer(this.backbone, this.plan, shared, this.options, this.#sessions)
  }

  /** A trainer with other learning rates. It shares the sessions. */
  withRates(rates: Rates): Trainer {
    return new Trainer(this.backbone, this.plan, this.shared, { ...this.options, rates }, this.#sessions)
  }

  /** A trainer of the bare backbone, without a module. It shares the sessions. */
  withoutModule(): Trainer {
    return new Trainer(this.backbone, undefined, [], this.options, this.#sessions)
  }

  /** Most tokens of one run of a graph. */
  get maxRunTokens(): number {
    return maxRunTokens(this.options)
  }

  /**
   * Forward, backward and update on a batch of one task. A batch with many tokens runs in parts whose gradients are
   * added, to bound memory.
   * @param targets as the loss takes them, [N, C]; those of words without token do not count
   * @param share share of the learning rates that this step uses
   * @returns the loss of the batch
   * @throws Problem `learning_diverged` if the loss is not finite
   */
  async step(
    task: TaskModel,
    examples: readonly EncodedExample[],
    targets: Float32Array,
    share: number,
  ): Promise<number> {
    const { problem, head } = task
    const traits = problemTraits[problem]
    const session = await this.#session({ mode: 'train', problem, head })
    const labels = examples.reduce((sum, example) => sum + labelCount(example), 0)
    const C = targets.length / labels
    const weights = targetWeights(examples, traits.loss, C)
    const sums = new Map<string, Float32Array>()
    const tokensAt = (at: number) => exampleTokens(examples[at] ?? { texts: [] })
    let first = 0
    for (const { start, end } of splitByTokens(examples.length, tokensAt, this.maxRunTokens)) {
      const part = examples.slice(start, end)
      const last = first + part.reduce((sum, example) => sum + labelCount(example), 0)
      const lossInputs = targetInputs(targets.subarray(first * C, last * C), weights.subarray(first, last))
      addUp(sums, await session.run({ ...this.#inputs(traits.unit, part), ...this.#tensors(task), ...lossInputs }))
      first = last
    }
    const loss = sums.get('loss')?.[0] ?? Number.NaN
    if (!Number.isFinite(loss)) throwDiverged(loss)
    this.#update([...this.shared, ...task.tensors], sums, share)
    return loss
  }

  /** Head outputs [N, C]; those of words without token are meaningless. */
  async outputs(examples: readonly EncodedExample[], task: TaskModel): Promise<Float32Array> {
    const { unit } = problemTraits[task.problem]
    const session = await this.#session({ mode: 'outputs', unit, head: task.head })
    return outputNamed(await session.run({ ...this.#inputs(unit, examples), ...this.#tensors(task) }), 'logits')
  }

  /** The inputs of a head, [N, H]: the pooled vectors of texts, or the vectors of words. */
  async vectors(examples: readonly EncodedExample[], unit: Exclude<Unit, 'pair'>): Promise<Float32Array> {
    const session = await this.#session({ mode: 'vectors', unit })
    return outputNamed(await session.run({ ...this.#inputs(unit, examples), ...this.#tensors() }), 'vectors')
  }

  /** The mask that the current scores of a tensor give, as 0s and 1s. */
  maskOf(tensor: Tensor): Float32Array {
    if (tensor.training === 'frozen') return tensor.values
    let mask = this.#masks.get(tensor)
    if (mask === undefined) {
      mask = maskFromScores(tensor.values, tensor.density ?? this.options.density)
      this.#masks.set(tensor, mask)
    }
    return mask
  }

  /** To be called after another module has changed tensors. */
  tensorsChanged(): void {
    this.#masks.clear()
  }

  async release(): Promise<void> {
    await Promise.all([...this.#sessions.values()].map((session) => session.release()))
  }

  #update(tensors: readonly Tensor[], gradients: ReadonlyMap<string, Float32Array>, share: number): void {
    for (const tensor of tensors) {
      if (tensor.training === 'frozen') continue
      const gradient = gradients.get(`${tensor.name}.grad`)
      if (gradient === undefined) throw new Error(`the graph has no gradient of "${tensor.name}"`)
      if (tensor.kind === 'mask') straightThroughGradient(tensor.values, gradient)
      this.#optimiser.update(tensor.values, gradient, share * this.#rate(tensor), tensor.shape.length > 1)
      this.#masks.delete(tensor)
    }
  }

  #rate({ name, kind }: Tensor): number {
    const { weights, scores, heads } = this.options.rates
    return name.startsWith('head.') ? heads : kind === 'mask' ? scores : weights
  }

  #inputs(unit: Unit, examples: readonly EncodedExample[]): GraphInputs {
    const { pooling } = this.options
    const texts = packRows(examples.flatMap(({ texts }) => texts.map((text) => ({ ...text, pooling }))))
    if (unit === 'word') return { ...textInputs(texts), ...wordInputs(examples) }
    return { ...textInputs(texts), ...(pooling !== 'max' && poolInputs(texts)) }
  }

  #tensors(task?: TaskModel): GraphInputs {
    const tensors = [...this.shared, ...(task?.tensors ?? [])].map((tensor) => {
      const data = tensor.kind === 'mask' ? this.maskOf(tensor) : tensor.values
      return [tensor.name, { shape: tensor.shape, data }] as const
    })
    return Object.fromEntries(tensors)
  }

  async #session(step: Step): Promise<GraphSession> {
    const { backbone, plan, options } = this
    const key = JSON.stringify([plan !== undefined, step])
    const known = this.#sessions.get(key)
    if (known) return known
    const graph = trainingGraph(backbone, plan, step, options.pooling)
    const { provider, threads } = options
    const session = await GraphSession.open(graph, { directory: backbone.weightsFolder, provider, threads })
    this.#sessions.set(key, session)
    return session
  }
}

function outputNamed(outputs: ReadonlyMap<string, Float32Array>, name: string): Float32Array {
  const found = outputs.get(name)
  if (found === undefined) throw new Error(`the graph has no output ${name}`)
  return found
}

/** Adds the outputs of a run to the sums of the earlier runs. */
function addUp(sums: Map<string, Float32Array>, outputs: ReadonlyMap<string, Float32Array>): void {
  for (const [name, values] of outputs) {
    const sum = sums.get(name)
    if (sum === undefined) sums.set(name, values)
    else if (name !== 'logits') for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] ?? 0) + (values[i] ?? 0)
  }
}
