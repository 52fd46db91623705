// Trains a new task on a frozen prototype, as `propetl learn` does: a mask and a head, written as a task file.

import { type LabelSpace, outputCount } from '../data/label-space.js'
import type { Prototype } from '../petl/prototype.js'
import type { Pooling } from '../petl/task.js'
import type { TaskFile } from '../petl/task-file.js'
import { Problem } from '../problem.js'
import type { Compute } from '../runtime/providers.js'
import { calibrate, calibratedHead, calibratedOutputs } from './calibration.js'
import { crossFittedCalibrationError } from './calibration-error.js'
import { type Confusion, findConfusions } from './confusions.js'
import { type ClassWeighting, type Decided, decide } from './decisions.js'
import type { Evaluation, Values } from './evaluated-examples.js'
import { evaluationOf, headOutputs, scoreOf } from './evaluation.js'
import { type Subset, targetsOf } from './example-set.js'
import { headTensors, trainMask } from './mask-training.js'
import type { Metric } from './metrics.js'
import type { Model } from './model.js'
import { defaultEpochs, ratesFrom, ratesFromRandomMask, ratesFromScratch, ratesFromStart } from './new-task-schedule.js'
import { type HeadKind, type MaskForm, moduleParameters, taskPlan } from './plan.js'
import { hasHead, problemTraits } from './problem-traits.js'
import { Random } from './random.js'
import { checkCanResume, copyResumedHead } from './resume.js'
import { allScores, type Score } from './score-table.js'
import { noMask, type StartingMask, startingMasks } from './starting-masks.js'
import {
  type SelectedStart,
  type StartingHead,
  type StartingPoint,
  type StartOptions,
  type StartProgress,
  selectStart,
  timeoutAt,
} from './starting-point.js'
import { initialHead, initialModule, type ModuleTensor, type Tensor } from './tensors.js'
import { taskMask, trainedTaskFile } from './trained-task-file.js'
import { type Rates, Trainer } from './trainer.js'
import { type RunControl, type Schedule, train } from './training.js'
import type { TrainingData } from './training-data.js'
import { evaluateHeldOut, heldOutOf, type Validation, validationOf } from './validation.js'

export interface NewTaskOptions extends Schedule, Compute, MaskForm {
  readonly density: number
  /** Learning rates other than the defaults. */
  readonly rates?: Partial<Pick<Rates, 'scores' | 'heads'>>
  readonly weightDecay: number
  readonly pooling: Pooling
  readonly head: HeadKind
  /** Whether the vectors of a feature extraction are scaled to an L2 norm of 1. */
  readonly normalize: boolean
  readonly seed: number
  /** Milliseconds that training may take; by default the number of epochs decides alone. */
  readonly timeBudget?: number | undefined
  /** Of a single-label classification; `auto` by default. */
  readonly classWeights?: ClassWeighting
  /** Whether the task gets a mask even if a head alone is better; false by default. */
  readonly requireMask?: boolean
  /** Whether to compute the baseline too: a head alone or, for a task without a head, the bare backbone. */
  readonly baseline: boolean
  readonly description?: string
  /** A task of the same kind to resume. */
  readonly resume?: TaskFile
}

export interface NewTask {
  readonly file: Uint8Array
  readonly result: NewTaskResult
  readonly metric: Metric
  /** All metrics of the held-out examples, the chosen one first. */
  readonly scores: readonly Score[]
  /** Expected calibration error, cross-fitted; absent if the problem type has no probabilities. */
  readonly calibrationError?: number
  /** Score of a head without a mask on the same held-out examples; for a feature extraction, of vectors without a mask. */
  readonly headOnly?: number
  /** Most frequent first. */
  readonly confusions: readonly Confusion[]
  readonly judged: JudgedTask
}

/** What the scores of a task are of. */
export interface JudgedTask extends Decided {
  /** The held-out examples, in the order of the evaluation. */
  readonly heldOut: Subset
}

export interface NewTaskResult {
  /** Score on held-out examples. */
  readonly score: number
  /** Folds of the cross-validation that gave the score; 1 for a dev part. */
  readonly folds: number
  /** Examples that were held out. */
  readonly heldOut: number
  /** Name of the mask that training started from; absent for a resumed task. */
  readonly start?: string
  /** From 1; 0 if no epoch was better than the starting point. */
  readonly bestEpoch: number
  /** Epochs that were compared. */
  readonly epochs: number
  readonly steps: number
  readonly stopped: boolean
  /** Mean loss of the held-out examples before training and after each epoch, if epochs are compared by it. */
  readonly losses?: readonly number[]
}

/** How the caller follows and stops the training of a new task. */
export interface NewTaskControl extends RunControl {
  /** Receives what the task is judged by. */
  readonly onValidation?: (validation: Validation) => void
  readonly onStartProgress?: (progress: StartProgress) => void
  /**
   * Receives the head without a mask as a finished task, as soon as it is known, with the chosen metric alone; not for
   * tasks without a linear head.
   */
  readonly onHead?: (head: NewTask) => void
  /** Receives the calibrated loss of the held-out examples after an epoch, if epochs are compared by it. */
  readonly onEpoch?: (epoch: number, heldOutLoss: number) => void
  /** Receives the score of the head without a mask, before known masks are compared with it. */
  readonly onBaseline?: (start: string, score: number, metric: Metric) => void
  /** Receives the score of the head at the starting point, before its mask is trained. */
  readonly onStart?: (start: string, score: number, metric: Metric) => void
}

/**
 * Trains a task and makes its file.
 * @param prototype absent: the task has a head alone
 * @param known tasks of the same prototype, by id: their masks may be the starting point
 */
export async function trainNewTask(
  { backbone }: Model,
  prototype: Prototype | undefined,
  data: TrainingData,
  options: NewTaskOptions,
  control: NewTaskControl,
  known: ReadonlyMap<string, TaskFile> = new Map(),
): Promise<NewTask> {
  const { layers, hiddenSize: H } = backbone.dims
  const { space } = data
  const { combine, resume } = options
  checkOptions(space, options)
  if (prototype === undefined) checkIsFitted(space, options)
  const plan = prototype && taskPlan(prototype, options)
  const maskLayers = options.maskRows === 'one' ? 1 : layers
  if (resume && prototype) checkCanResume(resume, prototype, space, { ...options, maskRows: maskLayers })
  const parameters = plan ? moduleParameters(plan, layers, H) : []
  const random = (purpose: string) => new Random(options.seed, purpose)
  const module = (mask?: Uint8Array) =>
    prototype ? initialModule(parameters, prototype, random('beginning'), mask) : []
  const isFitted = !resume && canBeFitted(space, options)
  // A fitted head is trained with other rates, which depend on the mask.
  const rates = ratesFrom(resume ? ratesFromStart : ratesFromScratch, options.rates)
  const trainer = new Trainer(backbone, plan, module(), { ...options, rates })
  const masks = startingMasks(prototype, { maskLayers, combine }, known)
  const deadline = performance.now() + (options.timeBudget ?? Number.POSITIVE_INFINITY)
  const run: Run = { trainer, prototype, data, options, control, masks, module, random, deadline }
  try {
    return isFitted ? await trainFittedTask(run) : await trainTaskByScore(run)
  } finally {
    await trainer.release()
  }
}

interface Run {
  readonly trainer: Trainer
  readonly prototype: Prototype | undefined
  readonly data: TrainingData
  readonly options: NewTaskOptions
  readonly control: NewTaskControl
  readonly masks: readonly StartingMask[]
  /** New tensors of the module that start from the bits of a mask. */
  readonly module: (mask?: Uint8Array) => readonly ModuleTensor[]
  readonly random: (purpose: string) => Random
  /** When training must end, as performance.now() counts. */
  readonly deadline: number
}

/** A head is fitted to the best known mask. Then mask and head are trained, if that lowers the loss of held-out examples. */
async function trainFittedTask(run: Run): Promise<NewTask> {
  const { trainer, data, options, control, random, deadline } = run
  const { space, metric } = data
  const { signal, onProgress, onEpoch, onHead, onBaseline = () => {}, onStart = () => {} } = control
  const validation = validationOf(data, random('folds'))
  control.onValidation?.(validation)
  const { train, folds } = validation
  const selection = await selectRunStart(run, validation, {
    deadline,
    onFirst: (point, isOnly) => {
      onHead?.(headTask(run, validation, point))
      if (!isOnly) onBaseline(point.mask.name, startScore(run, validation, point), metric)
    },
  })
  const { trainable = selection.best, first } = selection
  const best = options.requireMask ? trainable : selection.best
  onStart(best.mask.name, startScore(run, validation, best), metric)

  const rates = trainable.mask.bits ? ratesFromStart : ratesFromRandomMask
  const trained = await trainMask(trainer.withRates(ratesFrom(rates, options.rates)), trainable, best, {
    ...{ space, train, folds, random, signal, onProgress, deadline },
    batchRows: options.batchRows,
    epochs: !trainable.mask.isBare ? (options.epochs ?? defaultEpochs(train, options.batchRows)) : 0,
    initialModule: () => run.module(trainable.mask.bits),
    ...(onEpoch && { onEpoch }),
  })
  const judged = judgeFitted(run, validation, trained)
  const { evaluation } = judged
  const result = {
    score: scoreOf(metric, judged.space, evaluation),
    folds: folds.length,
    heldOut: evaluation.starts.length - 1,
    start: (trained.bestEpoch > 0 ? trainable : best).mask.name,
    bestEpoch: trained.bestEpoch,
    epochs: trained.losses.length,
    losses: [best.head?.calibration.loss ?? Number.NaN, ...trained.losses],
    steps: trained.steps,
    stopped: signal.aborted,
  }
  const headOnly = options.baseline ? startScore(run, validation, first) : undefined
  const module = result.start === noMask ? undefined : trained.module
  const tensors = calibratedHead(trained.head, trained.calibration)
  return newTask(run, result, judged, module, tensors, headOnly)
}

/** The head of a starting point without a mask, as a task. */
function headTask(run: Run, validation: Validation, { mask, head }: StartingPoint): NewTask {
  if (head === undefined) throw new Error('a task without a head has no baseline')
  const { space, metric } = run.data
  const judged = judgeFitted(run, validation, head)
  const result = {
    score: scoreOf(metric, judged.space, judged.evaluation),
    folds: validation.folds.length,
    heldOut: judged.heldOut.examples.length,
    start: mask.name,
    ...{ bestEpoch: 0, epochs: 0, steps: 0, stopped: false },
  }
  const tensors = headTensors(head.head, space, run.trainer.backbone.dims.hiddenSize)
  return newTask(run, result, judged, undefined, calibratedHead(tensors, head.calibration), result.score, true)
}

/** @param fitted outputs for the held-out examples of each fold, and their calibration */
function judgeFitted(
  run: Run,
  validation: Validation,
  { outputs, calibration }: Pick<StartingHead, 'outputs' | 'calibration'>,
): Judged {
  const { space } = run.data
  const identity = { factor: 1, shifts: calibration.shifts.map(() => 0) }
  return {
    ...judge(run, evaluateHeldOut(outputs, calibration, space, validation)),
    uncalibrated: evaluateHeldOut(outputs, identity, space, validation).outputs,
    heldOut: heldOutOf(validation),
  }
}

/** For tasks that have no linear head to fit, and for resumed ones: the epoch with the best dev score is kept. */
async function trainTaskByScore(run: Run): Promise<NewTask> {
  const { trainer, data, options, control, random, deadline } = run
  const { space } = data
  const { resume, head } = options
  const { signal, onProgress, onStart = () => {} } = control
  const validation = { train: data.train, folds: [{ train: data.train, heldOut: data.dev }] }
  control.onValidation?.(validation)
  const selection = resume ? undefined : await selectRunStart(run, validation, { deadline: Number.POSITIVE_INFINITY })
  const start = selection?.trainable
  if (selection && start) onStart(start.mask.name, startScore(run, validation, start), data.metric)
  const isBare = resume !== undefined && resume.mask === undefined
  const module = run.module(resume ? resume.mask?.bits : start?.mask.bits)
  const tensors = initialHead(space, trainer.backbone.dims.hiddenSize, head, random('head'))
  if (resume) copyResumedHead(resume, space, tensors)
  const own = isBare ? trainer.withoutModule() : trainer.withTensors(module)
  const task = { id: 'task', problem: space.problem, ...data, head, tensors }
  const schedule = { ...options, keepInitial: resume !== undefined || !hasHead(space.problem) }
  const stop = AbortSignal.any([signal, ...timeoutAt(deadline)])
  const trained = await train(own, [task], schedule, random('batches'), onProgress, stop)
  // A head that was not trained at all is of no use.
  if (trained.steps === 0 && !schedule.keepInitial) signal.throwIfAborted()
  const outputs = await headOutputs(own, task, space, data.dev)
  const targets = problemTraits[space.problem].lossTargets(space, targetsOf(data.dev))
  // A resumed task that did not improve stays as it is.
  const calibration =
    resume && trained.bestEpoch === 0
      ? { factor: 1, shifts: new Float64Array(outputCount(space)) }
      : calibrate(space.problem, { outputs, targets, width: outputCount(space) })
  const evaluation = evaluationOf(calibratedOutputs(outputs, calibration), space, data.dev)
  const judged = judge(run, evaluation)
  const result = {
    ...trained,
    score: scoreOf(data.metric, judged.space, judged.evaluation),
    folds: 1,
    heldOut: data.dev.examples.length,
    epochs: trained.epochs.length,
    stopped: signal.aborted,
    ...(start && { start: start.mask.name }),
  }
  const headOnly = options.baseline && selection ? startScore(run, validation, selection.first) : undefined
  const tensorsOfTask = calibratedHead(tensors, calibration)
  return newTask(
    run,
    result,
    { ...judged, uncalibrated: outputs, heldOut: data.dev },
    isBare ? undefined : module,
    tensorsOfTask,
    headOnly,
  )
}

function selectRunStart(
  run: Run,
  validation: Validation,
  more: Pick<StartOptions, 'deadline' | 'onFirst'>,
): Promise<SelectedStart> {
  const { trainer, masks, module, random, control, data } = run
  const { signal, onStartProgress: onProgress = () => {} } = control
  return selectStart(trainer, masks, {
    ...{ module, random: random('start'), signal, onProgress },
    ...{ space: data.space, metric: data.metric, names: data.names },
    ...validation,
    ...more,
  })
}

/** The score of the head of a starting point on the held-out examples, or of the vectors of a task without a head. */
function startScore(run: Run, validation: Validation, { head, loss }: StartingPoint): number {
  if (head === undefined) return 1 - loss
  const judged = judge(run, evaluateHeldOut(head.outputs, head.calibration, run.data.space, validation))
  return scoreOf(run.data.metric, judged.space, judged.evaluation)
}

/** @param evaluation of held-out examples, with calibrated outputs */
const judge = ({ data: { space, metric }, options }: Run, evaluation: Evaluation): Decided =>
  decide(space, metric, options.classWeights ?? 'auto', evaluation)

/** How the held-out examples are decided, and their outputs before calibration. */
interface Judged extends JudgedTask {
  readonly uncalibrated: Values
}

/**
 * @param module undefined for a task without a mask
 * @param isFast whether to leave out what takes time: other metrics, and the calibration error
 */
function newTask(
  { trainer, prototype, data: { metric, texts, heldOut }, options, random }: Run,
  result: NewTaskResult,
  { space, evaluation, uncalibrated, ...judged }: Judged,
  module: readonly ModuleTensor[] | undefined,
  tensors: readonly Tensor[],
  headOnly: number | undefined,
  isFast = false,
): NewTask {
  const { combine, pooling, normalize, description } = options
  const file = trainedTaskFile(
    { space, tensors, metric, heldOut: result.heldOut, folds: result.folds, losses: result.losses ?? [] },
    {
      ...(prototype && module
        ? { prototype: prototype.digest, mask: taskMask(trainer.withTensors(module), module), combine }
        : { backbone: trainer.backbone.digest }),
      pooling,
      normalize,
      texts,
      // After a cross-validation the task is trained on all examples.
      heldOut: result.folds > 1 ? new Uint8Array() : heldOut,
      score: result.score,
      ...(description !== undefined && { description }),
    },
  )
  const calibrationError = isFast
    ? undefined
    : crossFittedCalibrationError(space, uncalibrated, evaluation, random('calibration'))
  return {
    ...{ file, result, metric },
    scores: allScores(metric, space, evaluation, options.seed, isFast ? [] : undefined),
    confusions: findConfusions(space, evaluation),
    judged: { space, evaluation, ...judged },
    ...(calibrationError !== undefined && { calibrationError }),
    ...(headOnly !== undefined && { headOnly }),
  }
}

const canBeFitted = ({ problem }: LabelSpace, { head }: Pick<NewTaskOptions, 'head'>): boolean =>
  head === 'linear' && hasHead(problem)

/** @throws Problem `invalid_setting` for a task that needs a prototype */
function checkIsFitted(space: LabelSpace, options: NewTaskOptions): void {
  const needed = (what: string): never => {
    throw new Problem(
      'invalid_setting',
      `the model has no prototype, and ${what} needs one; without a prototype only linear heads can be trained`,
    )
  }
  if (!hasHead(space.problem)) needed(`a ${space.problem}`)
  if (!canBeFitted(space, options)) needed(`--head ${options.head}`)
  if (options.resume) needed('--resume')
}

/** @throws Problem `invalid_setting` for an option that does not apply to the problem type */
function checkOptions({ problem }: LabelSpace, { head, normalize }: NewTaskOptions): void {
  if (head === 'dense' && !hasHead(problem))
    throw new Problem('invalid_setting', `a ${problem} has no head; remove --head`)
  if (!normalize && problem !== 'feature_extraction')
    throw new Problem('invalid_setting', `a ${problem} has no vectors to normalise; remove --no-normalize`)
}
