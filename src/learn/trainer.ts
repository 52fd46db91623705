// Learning, a step at a time: the tensors of a module and of its tasks, the sessions that run them, the optimiser.
// Which rows come next and when to stop is training.ts's to know.

import type { Backbone } from '../backbones/backbone.js'
import { maskFromScores, straightThroughGradient } from '../petl/scores.js'
import type { Pooling, ProblemType } from '../petl/task.js'
import { Problem } from '../problem.js'
import type { Compute, LearningProvider } from '../runtime/execution-providers.js'
import { GraphSession } from '../runtime/graph-session.js'
import { packRows } from '../runtime/packed-rows.js'
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
import { problemTraits, type Unit } from './problem-traits.js'
import type { Tensor } from './tensors.js'
import { type Step, trainingGraph } from './training-graph.js'

/** Learning rates by what they move. */
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

/** What a task adds to the shared tensors: its mask, if masks differ between tasks, and its head, if it has one. */
export interface TaskModel {
  readonly problem: ProblemType
  /** Of no meaning where the problem type has no head. */
  readonly head: HeadKind
  readonly tensors: readonly Tensor[]
}

/** Tokens of one run of a graph: more gain no speed and cost memory. */
export const maxRunTokens: Readonly<Record<LearningProvider, number>> = { cpu: 1024, cuda: 8192 }

export class Trainer {
  readonly #optimiser: AdamW
  readonly #masks = new Map<Tensor, Float32Array>()
  readonly #sessions = new Map<string, GraphSession>()

  /** @param shared the module's tensors that all tasks have in common */
  constructor(
    readonly backbone: Backbone,
    readonly plan: ModulePlan | undefined,
    readonly shared: readonly Tensor[],
    readonly options: TrainerOptions,
  ) {
    this.#optimiser = new AdamW({ weightDecay: options.weightDecay })
  }

  /** Tokens of one run. */
  get maxRunTokens(): number {
    return maxRunTokens[this.options.provider ?? 'cpu']
  }

  /**
   * Forward, backward and update on a batch of one task. A batch of many tokens runs in pieces whose gradients add up,
   * so that memory has a bound.
   * @param targets as the loss takes them, [units, C]; those of words that have no token do not count
   * @param share part of the learning rates that this step uses
   * @returns the batch's loss
   * @throws Problem `learning_diverged` if it is not a number
   */
  async step(task: TaskModel, rows: readonly EncodedExample[], targets: Float32Array, share: number): Promise<number> {
    const { problem, head } = task
    const kind = problemTraits[problem]
    const session = await this.#session({ mode: 'learn', problem, head })
    const units = rows.reduce((sum, row) => sum + labelCount(row), 0)
    const C = targets.length / units
    const weights = targetWeights(rows, kind.loss, C)
    const sums = new Map<string, Float32Array>()
    const tokensAt = (at: number) => exampleTokens(rows[at] ?? { texts: [] })
    let first = 0
    for (const { start, end } of splitByTokens(rows.length, tokensAt, this.maxRunTokens)) {
      const piece = rows.slice(start, end)
      const last = first + piece.reduce((sum, row) => sum + labelCount(row), 0)
      const own = targetInputs(targets.subarray(first * C, last * C), weights.subarray(first, last))
      addUp(sums, await session.run({ ...this.#inputs(kind.unit, piece), ...this.#tensors(task), ...own }))
      first = last
    }
    const loss = sums.get('loss')?.[0] ?? Number.NaN
    if (!Number.isFinite(loss)) throw new Problem('learning_diverged', `the loss is ${loss}; try lower learning rates`)
    this.#update([...this.shared, ...task.tensors], sums, share)
    return loss
  }

  /** Head outputs [units, C]; those of words that have no token mean nothing. */
  async outputs(rows: readonly EncodedExample[], task: TaskModel): Promise<Float32Array> {
    const { unit } = problemTraits[task.problem]
    const session = await this.#session({ mode: 'outputs', unit, head: task.head })
    return outputNamed(await session.run({ ...this.#inputs(unit, rows), ...this.#tensors(task) }), 'logits')
  }

  /** What a head sees, [units, H]: of texts the pooled vectors. */
  async vectors(rows: readonly EncodedExample[], unit: Exclude<Unit, 'pair'>): Promise<Float32Array> {
    const session = await this.#session({ mode: 'vectors', unit })
    return outputNamed(await session.run({ ...this.#inputs(unit, rows), ...this.#tensors() }), 'vectors')
  }

  /** The mask of a tensor as it is used now. */
  maskOf(tensor: Tensor): Float32Array {
    if (tensor.training === 'frozen') return tensor.values
    let mask = this.#masks.get(tensor)
    if (mask === undefined) {
      mask = maskFromScores(tensor.values, this.options.density)
      this.#masks.set(tensor, mask)
    }
    return mask
  }

  /** Says that tensors were changed from outside. */
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
      if (gradient === undefined) throw new Error(`the graph gives no gradient of "${tensor.name}"`)
      if (tensor.kind === 'mask') straightThroughGradient(tensor.values, gradient)
      this.#optimiser.update(tensor.values, gradient, share * this.#rate(tensor), tensor.shape.length > 1)
      this.#masks.delete(tensor)
    }
  }

  #rate({ name, kind }: Tensor): number {
    const { weights, scores, heads } = this.options.rates
    return name.startsWith('head.') ? heads : kind === 'mask' ? scores : weights
  }

  #inputs(unit: Unit, rows: readonly EncodedExample[]): GraphInputs {
    const { pooling } = this.options
    const texts = packRows(rows.flatMap(({ texts }) => texts.map((text) => ({ ...text, pooling }))))
    return { ...textInputs(texts), ...(unit === 'word' ? wordInputs(rows) : poolInputs(texts)) }
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
    const key = JSON.stringify(step)
    const known = this.#sessions.get(key)
    if (known) return known
    const graph = trainingGraph(backbone, plan, step)
    const { provider, threads } = options
    const session = await GraphSession.open(graph, { directory: backbone.weightsFolder, provider, threads })
    this.#sessions.set(key, session)
    return session
  }
}

function outputNamed(outputs: ReadonlyMap<string, Float32Array>, name: string): Float32Array {
  const found = outputs.get(name)
  if (found === undefined) throw new Error(`the graph gives no ${name}`)
  return found
}

/** Adds outputs to the sums so far. */
function addUp(sums: Map<string, Float32Array>, outputs: ReadonlyMap<string, Float32Array>): void {
  for (const [name, values] of outputs) {
    const sum = sums.get(name)
    if (sum === undefined) sums.set(name, values)
    else if (name !== 'logits') for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] ?? 0) + (values[i] ?? 0)
  }
}
