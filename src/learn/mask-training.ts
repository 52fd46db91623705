// Trains the mask and the head of one task from a starting point. Held-out examples decide after how many epochs to stop,
// and whether the trained mask is better than the one it started from.

import { shuffledBatches } from './batches.js'
import { type Calibration, calibrate } from './calibration.js'
import { headOutputs } from './evaluation.js'
import { encodedExamples, type Subset, targetsOf } from './example-set.js'
import { type LabelSpace, outputCount } from './label-space.js'
import type { LinearHead } from './linear-head.js'
import { rateShare } from './optimiser.js'
import { headParameters } from './plan.js'
import { problemTraits } from './problem-traits.js'
import type { Random } from './random.js'
import { concatenated, type StartingPoint } from './starting-point.js'
import type { ModuleTensor, Tensor } from './tensors.js'
import type { Trainer } from './trainer.js'
import type { Progress } from './training.js'
import type { Fold } from './validation.js'

export interface MaskTrainingOptions {
  readonly space: LabelSpace
  /** All training examples. */
  readonly train: Subset
  /** Folds of the training examples, or the training part and the dev part as the only one. */
  readonly folds: readonly Fold[]
  readonly epochs: number
  readonly batchRows: number
  /** The tensors of the module as they are at the starting point. */
  readonly initialModule: () => readonly ModuleTensor[]
  readonly random: (purpose: string) => Random
  readonly signal: AbortSignal
  readonly onProgress: (progress: Progress) => void
}

export interface TrainedMask {
  readonly module: readonly ModuleTensor[]
  readonly head: readonly Tensor[]
  /** By the outputs of the held-out examples. */
  readonly calibration: Calibration
  /** Outputs [N, C] for the held-out examples of each fold. */
  readonly outputs: readonly Float32Array[]
  /** From 1; 0 if no epoch was better than the starting point. */
  readonly bestEpoch: number
  /** Calibrated loss of the held-out examples after each epoch. */
  readonly losses: readonly number[]
  readonly steps: number
}

/** Epochs without a lower loss after which a run on a dev part stops. */
const patience = 3

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
  const { space, train, folds, signal } = options
  const { head } = start
  if (head === undefined || best.head === undefined) throw new Error('a task without a head is trained by its score')
  const H = trainer.backbone.dims.hiddenSize
  const untrained: TrainedMask = {
    module: best.module,
    head: headTensors(best.head.head, space, H),
    calibration: best.head.calibration,
    outputs: best.head.outputs,
    bestEpoch: 0,
    losses: [],
    steps: 0,
  }
  const progress = new MaskProgress(options)
  const run = (subset: Subset, initial: LinearHead, purpose: string) =>
    new MaskRun(trainer, options, subset, headTensors(initial, space, H), options.random(purpose), progress)

  // One dev part: the run itself is judged after each epoch, and its best epoch is kept.
  if (folds.length === 1) {
    const [fold] = folds
    if (fold === undefined) return untrained
    const only = run(train, head.head, 'batches')
    let kept = untrained
    const losses: number[] = []
    for (let epoch = 1; epoch <= options.epochs && losses.length - kept.bestEpoch < patience; epoch++) {
      await only.epoch()
      if (signal.aborted) break
      const outputs = [await only.outputs(fold.heldOut)]
      const calibration = calibrated(space, folds, outputs)
      losses.push(calibration.loss)
      progress.judged(Math.min(...losses))
      if (calibration.loss < kept.calibration.loss)
        kept = { ...untrained, ...only.tensors(), calibration, outputs, bestEpoch: epoch }
    }
    return { ...kept, losses, steps: progress.step }
  }

  // Cross-validation: as many epochs as suit the held-out examples of all folds, then a run on all examples.
  const byEpoch: Float32Array[][] = Array.from({ length: options.epochs }, () => [])
  for (const [at, fold] of folds.entries()) {
    const initial = head.heads[at]
    if (initial === undefined) throw new Error('a fold has no head')
    const own = run(fold.train, initial, `batches of fold ${at}`)
    for (const outputs of byEpoch) {
      await own.epoch()
      if (signal.aborted) return { ...untrained, steps: progress.step }
      outputs.push(await own.outputs(fold.heldOut))
    }
  }
  const calibrations = byEpoch.map((outputs) => calibrated(space, folds, outputs))
  const losses = calibrations.map(({ loss }) => loss)
  const lowest = losses.indexOf(Math.min(...losses))
  const [calibration, outputs] = [calibrations[lowest], byEpoch[lowest]]
  if (calibration === undefined || outputs === undefined || calibration.loss >= untrained.calibration.loss)
    return { ...untrained, losses, steps: progress.step }
  progress.judged(calibration.loss)
  const final = run(train, head.head, 'batches')
  for (let epoch = 0; epoch <= lowest; epoch++) await final.epoch()
  if (signal.aborted) return { ...untrained, losses, steps: progress.step }
  return { ...final.tensors(), calibration, outputs, bestEpoch: lowest + 1, losses, steps: progress.step }
}

const calibrated = (space: LabelSpace, folds: readonly Fold[], outputs: readonly Float32Array[]): Calibration =>
  calibrate(space.problem, {
    outputs: concatenated(outputs),
    targets: concatenated(
      folds.map(({ heldOut }) => problemTraits[space.problem].lossTargets(space, targetsOf(heldOut))),
    ),
    width: outputCount(space),
  })

function headTensors({ weight, bias }: LinearHead, space: LabelSpace, hiddenSize: number): readonly Tensor[] {
  const [weights, biases] = headParameters(outputCount(space), hiddenSize, 'linear')
  return [
    { ...weights, values: weight.slice() },
    { ...biases, values: bias.slice() },
  ]
}

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
    readonly progress: MaskProgress,
  ) {
    this.#module = options.initialModule()
    this.#trainer = trainer.withTensors(this.#module)
  }

  get #task() {
    return { problem: this.options.space.problem, head: 'linear', tensors: this.head } as const
  }

  /** One pass over the examples; it ends early if the run is interrupted. */
  async epoch(): Promise<void> {
    const { space, batchRows, epochs, signal } = this.options
    const { lossTargets } = problemTraits[space.problem]
    const steps = epochs * Math.ceil(this.subset.examples.length / batchRows)
    for (const examples of shuffledBatches(this.subset, batchRows, this.random)) {
      if (signal.aborted) return
      const batch = { set: this.subset.set, examples }
      const targets = lossTargets(space, targetsOf(batch))
      const share = rateShare(this.#step++, steps)
      this.progress.stepped(await this.#trainer.step(this.#task, encodedExamples(batch), targets, share))
    }
  }

  outputs(subset: Subset): Promise<Float32Array> {
    return headOutputs(this.#trainer, this.#task, this.options.space, subset)
  }

  /** A copy of the tensors as they are now. */
  tensors(): { readonly module: readonly ModuleTensor[]; readonly head: readonly Tensor[] } {
    const copy = <T extends Tensor>(tensors: readonly T[]) =>
      tensors.map((tensor) => ({ ...tensor, values: tensor.values.slice() }))
    return { module: copy(this.#module), head: copy(this.head) }
  }
}

/** Progress over all runs. */
class MaskProgress {
  step = 0
  readonly #all: number
  readonly #start = performance.now()
  #loss: number | undefined
  #best: number | undefined

  constructor(readonly options: Pick<MaskTrainingOptions, 'train' | 'folds' | 'epochs' | 'batchRows' | 'onProgress'>) {
    const { train, folds, epochs, batchRows } = options
    const batches = ({ examples }: Subset) => Math.ceil(examples.length / batchRows)
    const ofFolds = folds.length > 1 ? folds.reduce((sum, fold) => sum + batches(fold.train), 0) : 0
    this.#all = epochs * (ofFolds + batches(train))
  }

  stepped(loss: number): void {
    this.#loss = this.#loss === undefined ? loss : 0.95 * this.#loss + 0.05 * loss
    this.step++
    const millisecondsLeft = ((performance.now() - this.#start) / this.step) * (this.#all - this.step)
    this.options.onProgress({
      step: this.step,
      steps: this.#all,
      loss: this.#loss,
      best: this.#best,
      comparedBy: 'held-out loss',
      millisecondsLeft,
    })
  }

  judged(loss: number): void {
    this.#best = loss
  }
}
