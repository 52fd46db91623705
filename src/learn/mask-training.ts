// Trains the mask and the head of one task from a starting point. Held-out examples decide after how many epochs to stop,
// and whether the trained mask is better than the one it started from.

import { type LabelSpace, outputCount } from '../data/label-space.js'
import { shuffledBatches } from './batches.js'
import { type Calibration, calibrate } from './calibration.js'
import { headOutputs } from './evaluation.js'
import { type Subset, targetsOf } from './example-set.js'
import { concatenated } from './head-selection.js'
import type { LinearHead } from './linear-head.js'
import { rateShare } from './optimiser.js'
import { headParameters } from './plan.js'
import { problemTraits } from './problem-traits.js'
import type { Random } from './random.js'
import { type Progress, RunProgress } from './run-progress.js'
import type { StartingHead, StartingPoint } from './starting-point.js'
import type { ModuleTensor, Tensor } from './tensors.js'
import type { Trainer } from './trainer.js'
import { stepsOfEpoch, trainBatch } from './training.js'
import type { Fold } from './validation.js'

export interface MaskTrainingOptions {
  readonly space: LabelSpace
  /** All training examples. */
  readonly train: Subset
  /** Folds of the training examples, or the training part and the dev part as the only one. */
  readonly folds: readonly Fold[]
  /** Most epochs; a time budget may allow fewer. */
  readonly epochs: number
  readonly batchRows: number
  /** When training must end, as performance.now() counts. */
  readonly deadline: number
  /** The tensors of the module as they are at the starting point. */
  readonly initialModule: () => readonly ModuleTensor[]
  readonly random: (purpose: string) => Random
  /** If aborted, training ends after the current step, and the best epoch of a dev part is kept. */
  readonly signal: AbortSignal
  readonly onProgress: (progress: Progress) => void
  /** Receives the calibrated loss of the held-out examples after an epoch. */
  readonly onEpoch?: (epoch: number, heldOutLoss: number) => void
}

/** The tensors of a module and a head. */
interface TaskTensors {
  readonly module: readonly ModuleTensor[]
  readonly head: readonly Tensor[]
}

/** What the held-out examples say about an epoch. */
interface Judged {
  /** From 1; 0 for the starting point. */
  readonly bestEpoch: number
  /** By the outputs of the held-out examples. */
  readonly calibration: Calibration
  /** Outputs [N, C] for the held-out examples of each fold. */
  readonly outputs: readonly Float32Array[]
}

export interface TrainedMask extends TaskTensors, Judged {
  /** Calibrated loss of the held-out examples after each epoch. */
  readonly losses: readonly number[]
  readonly steps: number
}

/** Epochs without a lower loss after which training stops. */
const patience = 3

/** A held-out loss that leaves nothing to improve. */
const perfectLoss = 0.001

/**
 * @param start where training starts
 * @param best what the trained mask has to be better than
 * @throws Problem `learning_diverged`
 */
export async function trainMask(
  trainer: Trainer,
  start: StartingPoint,
  best: StartingPoint,
  options: MaskTrainingOptions,
): Promise<TrainedMask> {
  const { head } = start
  if (head === undefined || best.head === undefined) throw new Error('a task without a head is trained by its score')
  const { calibration, outputs } = best.head
  const initial = {
    module: best.module,
    head: headTensors(best.head.head, options.space, trainer.backbone.dims.hiddenSize),
    ...{ calibration, outputs, bestEpoch: 0 },
  }
  const training = new MaskTraining(trainer, head, options)
  const epochs = calibration.loss <= perfectLoss ? 0 : await training.affordableEpochs()
  const losses: number[] = []
  const progress = new RunProgress(epochs * stepsOfRuns(options), 'held-out loss', options.onProgress)
  const trained = await training.run({ epochs, losses, progress }, calibration.loss)
  return { ...initial, ...trained, losses, steps: progress.step }
}

interface Plan {
  readonly epochs: number
  /** Receives the loss of each epoch. */
  readonly losses: number[]
  readonly progress: RunProgress
}

/** The best epoch of all folds. It has tensors if there is only one fold. */
interface BestEpoch extends Judged {
  readonly tensors: TaskTensors | undefined
}

class MaskTraining {
  constructor(
    readonly trainer: Trainer,
    readonly head: StartingHead,
    readonly options: MaskTrainingOptions,
  ) {}

  /** How many epochs fit into the time that is left, by the time of a few steps that change nothing. */
  async affordableEpochs(): Promise<number> {
    const { epochs, deadline, train, signal } = this.options
    if (epochs === 0 || deadline === Number.POSITIVE_INFINITY || signal.aborted) return epochs
    if (performance.now() >= deadline) return 0
    const trial = this.#run(train, this.head.head, 'trial', epochs)
    await trial.steps(1)
    const start = performance.now()
    // Few examples make only one step.
    const done = await trial.steps(trialSteps)
    const now = performance.now()
    const perStep = (now - start) / Math.max(1, done)
    const steps = stepsOfFoldEpoch(this.options) + stepsOfFinalEpoch(this.options)
    return Math.max(0, Math.min(epochs, Math.floor((deadline - now) / (perStep * steps))))
  }

  /**
   * The best epoch on a dev part or, after cross-validation, a run on all examples for as many epochs as were best.
   * @returns undefined if no epoch was better than the starting point, or if the run on all examples was interrupted
   */
  async run(plan: Plan, lossToBeat: number): Promise<(TaskTensors & Judged) | undefined> {
    const best = await this.#bestEpoch(plan, lossToBeat)
    if (best === undefined) return undefined
    const { tensors = await this.#trainOnAll(plan, best.bestEpoch), ...judged } = best
    return tensors && { ...tensors, ...judged }
  }

  /** Trains all folds epoch by epoch, so that the loss of all held-out examples decides when to stop. */
  async #bestEpoch({ epochs, losses, progress }: Plan, lossToBeat: number): Promise<BestEpoch | undefined> {
    const { folds, deadline, onEpoch } = this.options
    const runs = folds.map((fold, at) => this.#foldRun(fold, at, epochs, progress))
    const start = performance.now()
    let best: BestEpoch | undefined
    let lowest = lossToBeat
    for (let epoch = 1; epoch <= epochs && epoch - (best?.bestEpoch ?? 0) <= patience; epoch++) {
      const outputs: Float32Array[] = []
      for (const { run, heldOut } of runs) {
        const found = await run.epoch(heldOut)
        if (found === undefined) return best
        outputs.push(found)
      }
      const calibration = this.#calibration(outputs)
      losses.push(calibration.loss)
      onEpoch?.(epoch, calibration.loss)
      if (calibration.loss < lowest) {
        lowest = calibration.loss
        const tensors = runs.length === 1 ? runs[0]?.run.tensors() : undefined
        best = { calibration, outputs, bestEpoch: epoch, tensors }
      }
      progress.best = lowest
      // There must be time for one more epoch, and for the run on all examples after it.
      const now = performance.now()
      const perStep = (now - start) / (epoch * stepsOfFoldEpoch(this.options))
      if (now + perStep * stepsThrough(epoch + 1, this.options) > deadline) break
    }
    return best
  }

  #foldRun({ train, heldOut }: Fold, at: number, epochs: number, progress: RunProgress) {
    const head = this.head.heads[at]
    if (head === undefined) throw new Error('a fold has no head')
    const purpose = this.options.folds.length === 1 ? 'batches' : `batches of fold ${at}`
    return { run: this.#run(train, head, purpose, epochs, progress), heldOut }
  }

  /** @returns undefined if the run was interrupted */
  async #trainOnAll({ epochs, progress }: Plan, bestEpoch: number): Promise<TaskTensors | undefined> {
    const { train, batchRows, signal } = this.options
    progress.steps = progress.step + bestEpoch * stepsOfEpoch([{ train }], batchRows)
    const run = this.#run(train, this.head.head, 'batches', epochs, progress)
    for (let epoch = 1; epoch <= bestEpoch; epoch++) await run.steps()
    return signal.aborted ? undefined : run.tensors()
  }

  #run(subset: Subset, head: LinearHead, purpose: string, epochs: number, progress?: RunProgress): MaskRun {
    const { options, trainer } = this
    const tensors = headTensors(head, options.space, trainer.backbone.dims.hiddenSize)
    return new MaskRun(trainer, { ...options, epochs }, subset, tensors, options.random(purpose), progress)
  }

  #calibration(outputs: readonly Float32Array[]): Calibration {
    const { space, folds } = this.options
    return calibrate(space.problem, {
      outputs: concatenated(outputs),
      targets: concatenated(
        folds.map(({ heldOut }) => problemTraits[space.problem].lossTargets(space, targetsOf(heldOut))),
      ),
      width: outputCount(space),
    })
  }
}

export function headTensors({ weight, bias }: LinearHead, space: LabelSpace, hiddenSize: number): readonly Tensor[] {
  const [weights, biases] = headParameters(outputCount(space), hiddenSize, 'linear')
  return [
    { ...weights, values: weight.slice() },
    { ...biases, values: bias.slice() },
  ]
}

const trialSteps = 2

/** A forward pass takes about a third of the time of a step. */
const forwardShare = 1 / 3

type RunSizes = Pick<MaskTrainingOptions, 'train' | 'folds' | 'batchRows'>

/** Steps of one epoch of the run on all examples that follows cross-validation. */
const stepsOfFinalEpoch = ({ train, folds, batchRows }: RunSizes): number =>
  folds.length > 1 ? stepsOfEpoch([{ train }], batchRows) : 0

/** Steps of one epoch in all folds and in the run on all examples. */
const stepsOfRuns = (sizes: RunSizes): number => stepsOfEpoch(sizes.folds, sizes.batchRows) + stepsOfFinalEpoch(sizes)

/** What an epoch of all folds costs, in steps, with the evaluation of the held-out examples. */
const stepsOfFoldEpoch = ({ folds, batchRows }: RunSizes): number =>
  stepsOfEpoch(folds, batchRows) +
  forwardShare *
    stepsOfEpoch(
      folds.map(({ heldOut }) => ({ train: heldOut })),
      batchRows,
    )

/** Steps that remain before an epoch, if it is both the last one and the best one. */
const stepsThrough = (epoch: number, sizes: RunSizes): number =>
  stepsOfFoldEpoch(sizes) + epoch * stepsOfFinalEpoch(sizes)

/** One run from the starting point on some of the examples. */
class MaskRun {
  readonly #trainer: Trainer
  readonly #module: readonly ModuleTensor[]
  #step = 0

  constructor(
    trainer: Trainer,
    readonly options: MaskTrainingOptions,
    readonly subset: Subset,
    readonly head: readonly Tensor[],
    readonly random: Random,
    readonly progress: RunProgress | undefined,
  ) {
    this.#module = options.initialModule()
    this.#trainer = trainer.withTensors(this.#module)
  }

  get #task() {
    return { problem: this.options.space.problem, head: 'linear', tensors: this.head } as const
  }

  /**
   * One pass over the examples.
   * @returns outputs for the held-out examples; undefined if the run was interrupted
   */
  async epoch(heldOut: Subset): Promise<Float32Array | undefined> {
    const { space, signal } = this.options
    await this.steps()
    try {
      return await headOutputs(this.#trainer, this.#task, space, heldOut, () => signal.throwIfAborted())
    } catch (error) {
      if (!signal.aborted) throw error
      return undefined
    }
  }

  /** The first steps of a pass over the examples. @returns their number; fewer if the run is interrupted */
  async steps(most = Number.POSITIVE_INFINITY): Promise<number> {
    const { space, batchRows, epochs, signal } = this.options
    const steps = epochs * stepsOfEpoch([{ train: this.subset }], batchRows)
    const before = this.#step
    for (const examples of shuffledBatches(this.subset, batchRows, this.random).slice(0, most)) {
      if (signal.aborted) break
      const batch = { set: this.subset.set, examples }
      const share = rateShare(this.#step++, steps)
      const loss = await trainBatch(this.#trainer, this.#task, space, batch, share)
      this.progress?.stepped(loss)
    }
    return this.#step - before
  }

  /** A copy of the tensors as they are now. */
  tensors(): { readonly module: readonly ModuleTensor[]; readonly head: readonly Tensor[] } {
    const copy = <T extends Tensor>(tensors: readonly T[]) =>
      tensors.map((tensor) => ({ ...tensor, values: tensor.values.slice() }))
    return { module: copy(this.#module), head: copy(this.head) }
  }
}
