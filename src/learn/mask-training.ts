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
}

/** Tensors of a module and a head, with what held-out examples say about them. */
interface Candidate {
  readonly module: readonly ModuleTensor[]
  readonly head: readonly Tensor[]
  /** By the outputs of the held-out examples. */
  readonly calibration: Calibration
  /** Outputs [N, C] for the held-out examples of each fold. */
  readonly outputs: readonly Float32Array[]
}

export interface TrainedMask extends Candidate {
  /** From 1; 0 if no epoch was better than the starting point. */
  readonly bestEpoch: number
  /** Calibrated loss of the held-out examples after each epoch. */
  readonly losses: readonly number[]
  readonly steps: number
}

/** Epochs without a lower loss after which a run on a dev part stops. */
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
  const kept: Candidate = {
    module: best.module,
    head: headTensors(best.head.head, options.space, trainer.backbone.dims.hiddenSize),
    calibration: best.head.calibration,
    outputs: best.head.outputs,
  }
  const training = new MaskTraining(trainer, head, options)
  const epochs = kept.calibration.loss <= perfectLoss ? 0 : await training.affordableEpochs()
  const losses: number[] = []
  const plan = {
    epochs,
    losses,
    progress: new RunProgress(epochs * stepsOfRuns(options), 'held-out loss', options.onProgress),
  }
  const trained = await (options.folds.length === 1
    ? training.onDevPart(plan, kept.calibration.loss)
    : training.byCrossValidation(plan, kept.calibration.loss))
  return { ...kept, bestEpoch: 0, ...trained, losses, steps: plan.progress.step }
}

interface Plan {
  readonly epochs: number
  /** Receives the loss of each epoch. */
  readonly losses: number[]
  readonly progress: RunProgress
}

type Improvement = Candidate & { readonly bestEpoch: number }

class MaskTraining {
  constructor(
    readonly trainer: Trainer,
    readonly head: StartingHead,
    readonly options: MaskTrainingOptions,
  ) {}

  /** How many epochs fit into the time that is left, by the time of a few steps that change nothing. */
  async affordableEpochs(): Promise<number> {
    const { epochs, deadline, train, signal } = this.options
    if (deadline === Number.POSITIVE_INFINITY || signal.aborted) return epochs
    const trial = this.#run(train, this.head.head, 'trial', epochs)
    await trial.steps(1)
    const start = performance.now()
    await trial.steps(trialSteps)
    const now = performance.now()
    const perStep = (now - start) / trialSteps
    return Math.min(
      epochs,
      Math.floor((deadline - now) / (perStep * (stepsOfRuns(this.options) + stepsOfEvaluations(this.options)))),
    )
  }

  /** One run on the training part. It is judged after each epoch, and its best epoch is kept. */
  async onDevPart({ epochs, losses, progress }: Plan, lossToBeat: number): Promise<Improvement | undefined> {
    const { train, folds, deadline } = this.options
    const [fold] = folds
    if (fold === undefined) throw new Error('there is nothing to judge by')
    const run = this.#run(train, this.head.head, 'batches', epochs, progress)
    let kept: Improvement | undefined
    let lowest = lossToBeat
    for (let epoch = 1; epoch <= epochs && losses.length - (kept?.bestEpoch ?? 0) < patience; epoch++) {
      const outputs = await run.epoch(fold.heldOut)
      if (outputs === undefined) break
      const calibration = this.#calibration([outputs])
      losses.push(calibration.loss)
      if (calibration.loss < lowest) {
        lowest = calibration.loss
        kept = { ...run.tensors(), calibration, outputs: [outputs], bestEpoch: epoch }
      }
      progress.best = lowest
      if (performance.now() > deadline) break
    }
    return kept
  }

  /** As many epochs as suit the held-out examples of all folds, then a run on all examples. */
  async byCrossValidation({ epochs, losses, progress }: Plan, lossToBeat: number): Promise<Improvement | undefined> {
    const { train, folds, signal } = this.options
    const byEpoch: Float32Array[][] = Array.from({ length: epochs }, () => [])
    for (const [at, fold] of folds.entries()) {
      const initial = this.head.heads[at]
      if (initial === undefined) throw new Error('a fold has no head')
      const run = this.#run(fold.train, initial, `batches of fold ${at}`, epochs, progress)
      for (const outputs of byEpoch) {
        const found = await run.epoch(fold.heldOut)
        if (found === undefined) return undefined
        outputs.push(found)
      }
    }
    const calibrations = byEpoch.map((outputs) => this.#calibration(outputs))
    losses.push(...calibrations.map(({ loss }) => loss))
    const lowest = losses.indexOf(Math.min(...losses))
    const [calibration, outputs] = [calibrations[lowest], byEpoch[lowest]]
    if (calibration === undefined || outputs === undefined || calibration.loss >= lossToBeat) return undefined
    progress.best = calibration.loss
    const final = this.#run(train, this.head.head, 'batches', epochs, progress)
    for (let epoch = 0; epoch <= lowest; epoch++) await final.steps()
    if (signal.aborted) return undefined
    return { ...final.tensors(), calibration, outputs, bestEpoch: lowest + 1 }
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

function headTensors({ weight, bias }: LinearHead, space: LabelSpace, hiddenSize: number): readonly Tensor[] {
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

/** Steps of one epoch in all folds and in the final run. */
const stepsOfRuns = ({ train, folds, batchRows }: RunSizes): number =>
  stepsOfEpoch(folds.length > 1 ? [...folds, { train }] : [{ train }], batchRows)

/** What the evaluations of an epoch cost, in steps. */
const stepsOfEvaluations = ({ folds, batchRows }: RunSizes): number =>
  forwardShare *
  stepsOfEpoch(
    folds.map(({ heldOut }) => ({ train: heldOut })),
    batchRows,
  )

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

  /** The first steps of a pass over the examples; fewer if the run is interrupted. */
  async steps(most = Number.POSITIVE_INFINITY): Promise<void> {
    const { space, batchRows, epochs, signal } = this.options
    const steps = epochs * stepsOfEpoch([{ train: this.subset }], batchRows)
    for (const examples of shuffledBatches(this.subset, batchRows, this.random).slice(0, most)) {
      if (signal.aborted) return
      const batch = { set: this.subset.set, examples }
      const share = rateShare(this.#step++, steps)
      const loss = await trainBatch(this.#trainer, this.#task, space, batch, share)
      this.progress?.stepped(loss)
    }
  }

  /** A copy of the tensors as they are now. */
  tensors(): { readonly module: readonly ModuleTensor[]; readonly head: readonly Tensor[] } {
    const copy = <T extends Tensor>(tensors: readonly T[]) =>
      tensors.map((tensor) => ({ ...tensor, values: tensor.values.slice() }))
    return { module: copy(this.#module), head: copy(this.head) }
  }
}
