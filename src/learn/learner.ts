// Learning, a step at a time: the tensors of a module and of its tasks, the sessions that run them, the optimiser.
// Which rows come next and when to stop is training.ts's to know.

import type { Backbone } from '../backbones/backbone.js'
import { GraphSession } from '../engine/graph-session.js'
import { packRows } from '../engine/rows.js'
import type { Pooling } from '../formats/task-file.js'
import { maskOf, throughMask } from '../petl/scores.js'
import { Problem } from '../problem.js'
import { type GraphInputs, pieces, rowInputs, rowWeight, targetInputs } from './batches.js'
import type { LearnableProblem } from './labels.js'
import { AdamW } from './optimiser.js'
import { headParameters, type ModulePlan } from './plan.js'
import type { Tensor } from './tensors.js'
import type { TokenSpan } from './token-table.js'
import { trainingGraph } from './training-graph.js'

/** Learning rates by what they move. */
export interface Rates {
  readonly weights: number
  readonly scores: number
  readonly heads: number
}

export interface LearnerOptions {
  readonly rates: Rates
  /** k: share of a mask's entries that are 1. */
  readonly density: number
  readonly weightDecay: number
  readonly pooling: Pooling
  readonly threads: number
}

/** What a task adds to the shared tensors: its mask, if masks differ between tasks, and its head. */
export interface LearnedTask {
  readonly problem: LearnableProblem
  readonly tensors: readonly Tensor[]
}

/** Tokens of one run of a graph: more gain no speed and cost memory. */
export const tokensTogether = 1024

export class Learner {
  readonly #optimiser: AdamW
  readonly #masks = new Map<Tensor, Float32Array>()
  readonly #learning = new Map<LearnableProblem, GraphSession>()
  #forward: GraphSession | undefined

  /** @param shared the module's tensors that all tasks have in common */
  constructor(
    readonly backbone: Backbone,
    readonly plan: ModulePlan | undefined,
    readonly shared: readonly Tensor[],
    readonly options: LearnerOptions,
  ) {
    this.#optimiser = new AdamW({ weightDecay: options.weightDecay })
  }

  /**
   * Forward, backward and update on a batch of one task. A batch of many tokens runs in pieces whose gradients add up,
   * so that memory has a bound.
   * @param targets [rows, C]
   * @param share part of the learning rates that this step uses
   * @returns the batch's loss
   * @throws Problem `learning_diverged` if it is not a number
   */
  async step(task: LearnedTask, rows: readonly TokenSpan[], targets: Float32Array, share: number): Promise<number> {
    const session = await this.#learningSession(task.problem)
    const C = targets.length / rows.length
    const weight = rowWeight(task.problem, rows.length, C)
    const sums = new Map<string, Float32Array>()
    const lengthOf = (at: number) => rows[at]?.inputIds.length ?? 0
    for (const { start, end } of pieces(rows.length, lengthOf, tokensTogether)) {
      const outputs = await session.run({
        ...this.#inputs(task, rows.slice(start, end)),
        ...targetInputs(targets.subarray(start * C, end * C), end - start, weight),
      })
      addUp(sums, outputs)
    }
    const loss = sums.get('loss')?.[0] ?? Number.NaN
    if (!Number.isFinite(loss)) throw new Problem('learning_diverged', `the loss is ${loss}; try lower learning rates`)
    this.#update([...this.shared, ...task.tensors], sums, share)
    return loss
  }

  /** Pooled rows [rows, H] and head outputs [rows, C]; without a task the outputs mean nothing. */
  async predict(
    rows: readonly TokenSpan[],
    task: LearnedTask = noTask(this.backbone.config.hidden_size),
  ): Promise<{ pooled: Float32Array; logits: Float32Array }> {
    const { backbone, plan, options } = this
    this.#forward ??= await GraphSession.open(
      trainingGraph(backbone, plan, { mode: 'forward', problem: task.problem }),
      {
        directory: backbone.weightsFolder,
        threads: options.threads,
      },
    )
    const outputs = await this.#forward.run(this.#inputs(task, rows))
    const [pooled, logits] = [outputs.get('pooled'), outputs.get('logits')]
    if (!pooled || !logits) throw new Error('the graph gives no pooled rows or logits')
    return { pooled, logits }
  }

  /** The mask of a tensor as it is used now. */
  maskOf(tensor: Tensor): Float32Array {
    if (tensor.training === 'frozen') return tensor.values
    let mask = this.#masks.get(tensor)
    if (mask === undefined) {
      mask = maskOf(tensor.values, this.options.density)
      this.#masks.set(tensor, mask)
    }
    return mask
  }

  /** Says that tensors were changed from outside. */
  changed(): void {
    this.#masks.clear()
  }

  async release(): Promise<void> {
    await Promise.all([...this.#learning.values(), this.#forward].map((session) => session?.release()))
  }

  #update(tensors: readonly Tensor[], gradients: ReadonlyMap<string, Float32Array>, share: number): void {
    for (const tensor of tensors) {
      if (tensor.training === 'frozen') continue
      const gradient = gradients.get(`${tensor.name}.grad`)
      if (gradient === undefined) throw new Error(`the graph gives no gradient of "${tensor.name}"`)
      if (tensor.kind === 'mask') throughMask(tensor.values, gradient)
      this.#optimiser.update(tensor.values, gradient, share * this.#rate(tensor), tensor.shape.length > 1)
      this.#masks.delete(tensor)
    }
  }

  #rate({ name, kind }: Tensor): number {
    const { weights, scores, heads } = this.options.rates
    return name.startsWith('head.') ? heads : kind === 'mask' ? scores : weights
  }

  #inputs(task: LearnedTask, rows: readonly TokenSpan[]): GraphInputs {
    const { pooling } = this.options
    const tensors = [...this.shared, ...task.tensors].map((tensor) => {
      const data = tensor.kind === 'mask' ? this.maskOf(tensor) : tensor.values
      return [tensor.name, { shape: tensor.shape, data }] as const
    })
    return { ...rowInputs(packRows(rows.map((row) => ({ ...row, pooling })))), ...Object.fromEntries(tensors) }
  }

  async #learningSession(problem: LearnableProblem): Promise<GraphSession> {
    const { backbone, plan, options } = this
    const known = this.#learning.get(problem)
    if (known) return known
    const graph = trainingGraph(backbone, plan, { mode: 'learn', problem })
    const session = await GraphSession.open(graph, { directory: backbone.weightsFolder, threads: options.threads })
    this.#learning.set(problem, session)
    return session
  }
}

/** Adds outputs to the sums so far. */
function addUp(sums: Map<string, Float32Array>, outputs: ReadonlyMap<string, Float32Array>): void {
  for (const [name, values] of outputs) {
    const sum = sums.get(name)
    if (sum === undefined) sums.set(name, values)
    else if (name !== 'logits') for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] ?? 0) + (values[i] ?? 0)
  }
}

/** A head of zeros, where pooled rows alone are wanted. */
const noTask = (hiddenSize: number): LearnedTask => ({
  problem: 'regression',
  tensors: headParameters(1, hiddenSize).map((parameter) => ({
    ...parameter,
    values: new Float32Array(parameter.shape.reduce((product: number, dim) => product * dim, 1)),
  })),
})
