// Where the training of a task starts: the best of the known masks, under a head that is fitted to it. Held-out examples
// decide which mask is best, and how strongly the head is regularised.

import { type LabelSpace, outputCount } from '../data/label-space.js'
import { targetWeights } from './batches.js'
import type { Calibration } from './calibration.js'
import { evaluateSubset, headInputs, type OnExamplesDone, scoreOf } from './evaluation.js'
import { encodedExamples, examplesWithinVectors, type Subset, sample, targetsOf } from './example-set.js'
import { type HeadFold, joinVectors, type PenaltyLimits, pickVectors, selectPenalty } from './head-selection.js'
import { type LabelledVectors, type LinearHead, LinearHeads } from './linear-head.js'
import type { Metric } from './metrics.js'
import { problemTraits } from './problem-traits.js'
import type { Unit } from './problems/learned-problem.js'
import type { Random } from './random.js'
import type { StartingMask } from './starting-masks.js'
import type { ModuleTensor } from './tensors.js'
import type { Trainer } from './trainer.js'
import { type Fold, targetPlaces } from './validation.js'

export interface StartingPoint {
  readonly mask: StartingMask
  readonly module: readonly ModuleTensor[]
  /** Absent if the problem type has no head. */
  readonly head?: StartingHead
  /** The names of labels, if the head is fitted to them too. */
  readonly names?: Subset | undefined
  /** Loss of the held-out examples; without a head, 1 − their score. */
  readonly loss: number
}

export interface StartingHead {
  /** Fitted to all training examples. */
  readonly head: LinearHead
  readonly penalty: number
  /** By outputs of the held-out examples. */
  readonly calibration: Calibration
  /** The head of each fold, and its outputs [N, C] for the held-out examples. */
  readonly heads: readonly LinearHead[]
  readonly outputs: readonly Float32Array[]
}

export interface StartOptions {
  readonly space: LabelSpace
  readonly metric: Metric
  /** New tensors of the module that start from the bits of a mask. */
  readonly module: (mask?: Uint8Array) => readonly ModuleTensor[]
  /** Examples that the chosen head is fitted to. */
  readonly train: Subset
  /** Folds of the training examples, or the training part and the dev part as the only one. */
  readonly folds: readonly Fold[]
  /** Names of labels that heads are fitted to as well, if that lowers the loss under the first mask. */
  readonly names?: Subset | undefined
  readonly random: Random
  /** If aborted, the best of the points that are already known is selected. */
  readonly signal: AbortSignal
  /** When the selection must end, as performance.now() counts. The point of the first mask is computed in any case. */
  readonly deadline: number
  /** Receives the point of the first mask, before the others are compared with it. */
  readonly onFirst?: ((first: StartingPoint, isOnly: boolean) => void) | undefined
  readonly onProgress: (progress: StartProgress) => void
}

/** How many masks have been compared, or how many examples have been computed under the mask of a final head. */
export interface StartProgress {
  /** What is counted. */
  readonly what: string
  readonly done: number
  readonly all: number
}

export interface SelectedStart {
  readonly best: StartingPoint
  /** The best whose mask can be trained; absent if the selection was stopped before there was one. */
  readonly trainable?: StartingPoint
  /** That of the first mask. */
  readonly first: StartingPoint
}

type Parts = Pick<StartOptions, 'train' | 'folds'>

/** Most examples of a part that masks are compared on: each needs a forward pass under each mask. */
const comparedExamples = 250

/**
 * @param trainer of the plan of the new task, whose tensors are not used
 * @param masks the first one is what the others are compared with
 * @throws the reason of the signal, if it was aborted before the first point was known
 */
export async function selectStart(
  trainer: Trainer,
  masks: readonly StartingMask[],
  options: StartOptions,
): Promise<SelectedStart> {
  const { space, signal, deadline, names, onFirst, onProgress } = options
  const [firstMask, ...otherMasks] = masks
  if (firstMask === undefined) throw new Error('there is no mask to start from')
  const stop = AbortSignal.any([signal, ...timeoutAt(deadline)])
  const heads = await headsFor(trainer, space)
  const onAllExamples = ({ name }: StartingMask): OnExamplesDone => {
    return (done, all) => onProgress({ what: `examples under ${name}`, done, all })
  }
  /** Points of all examples. */
  const points: StartingPoint[] = []
  try {
    const bothWays = { ...options, namings: names ? [undefined, names] : [undefined] }
    const first = await startAt(trainer, heads, firstMask, bothWays, { signal, stop }, onAllExamples(firstMask))
    points.push(first)
    onFirst?.(first, otherMasks.length === 0)
    const limits = { signal: stop, stop }
    const known = { ...options, namings: [first.names] }
    const parts = comparedParts(options)
    const compared = parts.train === options.train ? points : []
    for (const [at, mask] of otherMasks.entries()) {
      compared.push(await startAt(trainer, heads, mask, { ...known, ...parts }, limits))
      onProgress({ what: 'masks', done: at + 2, all: masks.length })
    }
    // The best one gets a head of all examples, by which it is compared with the first one.
    const best = compared === points ? undefined : lowest(compared)
    if (best) points.push(await startAt(trainer, heads, best.mask, known, limits, onAllExamples(best.mask)))
  } catch (error) {
    if (!stop.aborted || points.length === 0) throw error
  } finally {
    await heads?.release()
  }
  return selected(points)
}

/** The longest delay of a timer, in milliseconds: 24 days. A longer one would fire at once. */
const longestDelay = 2 ** 31 - 1

/** @returns no signal if there is no deadline, or none that a timer can wait for */
export function timeoutAt(deadline: number): AbortSignal[] {
  const delay = Math.max(0, Math.ceil(deadline - performance.now()))
  return delay > longestDelay ? [] : [AbortSignal.timeout(delay)]
}

function selected(points: readonly StartingPoint[]): SelectedStart {
  const [first] = points
  const best = lowest(points)
  const trainable = lowest(points.filter(({ mask }) => !mask.isBare))
  if (first === undefined || best === undefined) throw new Error('there is no mask to start from')
  return { best, first, ...(trainable && { trainable }) }
}

const lowest = (points: readonly StartingPoint[]): StartingPoint | undefined =>
  points.reduce<StartingPoint | undefined>((low, point) => (low && low.loss <= point.loss ? low : point), undefined)

/** Parts that are small enough to be run under every mask. Folds are small already. */
function comparedParts({ train: all, folds, random }: Parts & Pick<StartOptions, 'random'>): Parts {
  const whole = { train: all, folds }
  const [only] = folds
  if (folds.length > 1 || only === undefined) return whole
  const [train, heldOut] = [
    sample(only.train, comparedExamples, random),
    sample(only.heldOut, comparedExamples, random),
  ]
  const isWhole = train.examples === only.train.examples && heldOut.examples === only.heldOut.examples
  return isWhole ? whole : { train, folds: [{ train, heldOut }] }
}

async function headsFor({ backbone, options }: Trainer, space: LabelSpace): Promise<LinearHeads | undefined> {
  const { unit, loss } = problemTraits[space.problem]
  if (unit === 'pair') return undefined
  return LinearHeads.open(backbone.dims.hiddenSize, outputCount(space), loss, options.threads ?? 0)
}

interface PointOptions extends Omit<StartOptions, 'names'> {
  /** What heads are fitted to as well: names of labels, or nothing. The head with the lowest loss is kept. */
  readonly namings: readonly (Subset | undefined)[]
}

/** @param limits `signal` ends the work by its reason; after the first head `stop` ends it, and the best head is kept */
async function startAt(
  trainer: Trainer,
  heads: LinearHeads | undefined,
  mask: StartingMask,
  { space, metric, random, folds, namings, ...options }: PointOptions,
  { signal, stop }: PenaltyLimits,
  onExamples: OnExamplesDone = () => {},
): Promise<StartingPoint> {
  const onDone: OnExamplesDone = (done, all) => {
    signal.throwIfAborted()
    onExamples(done, all)
  }
  const module = mask.isBare ? [] : options.module(mask.bits)
  const own = mask.isBare ? trainer.withoutModule() : trainer.withTensors(module)
  const { problem } = space
  if (heads === undefined) {
    const losses: number[] = []
    for (const { heldOut } of folds) {
      const evaluation = await evaluateSubset(own, { problem, head: 'linear', tensors: [] }, space, heldOut, onDone)
      losses.push(1 - scoreOf(metric, space, evaluation))
    }
    return { mask, module, loss: losses.reduce((sum, loss) => sum + loss, 0) / losses.length }
  }
  const train = sample(options.train, examplesWithinVectors(options.train.set), random)
  const all = await labelledVectors(own, space, train, onDone)
  const parts: HeadFold[] = []
  for (const fold of folds) {
    const isWithin = fold.heldOut.set === train.set && folds.length > 1
    parts.push({
      fitted: pickVectors(all, targetPlaces(train, fold.train)),
      heldOut: isWithin
        ? pickVectors(all, targetPlaces(train, fold.heldOut))
        : await labelledVectors(own, space, fold.heldOut, onDone),
    })
  }
  const startWith = async (names: Subset | undefined, limits: PenaltyLimits): Promise<StartingPoint> => {
    const checkGoing = () => limits.signal.throwIfAborted()
    const named = names && weighted(await labelledVectors(own, space, names, checkGoing), nameWeight)
    const withNames = (data: LabelledVectors) => (named ? joinVectors([data, named]) : data)
    const namedParts = parts.map(({ fitted, heldOut }) => ({ fitted: withNames(fitted), heldOut }))
    const selected = await selectPenalty(heads, problem, namedParts, limits)
    // A dev part scores the very head that the task file gets. Another fit would differ a little.
    const [only] = selected.heads
    const head = only && folds.length === 1 ? only : await heads.fit(withNames(all), selected.penalty, only)
    return { mask, module, head: { head, ...selected }, names, loss: selected.calibration.loss }
  }
  const points: StartingPoint[] = []
  try {
    for (const names of namings)
      points.push(await startWith(names, { signal: points.length > 0 ? stop : signal, stop }))
  } catch (error) {
    if (!stop.aborted || points.length === 0) throw error
  }
  const best = lowest(points)
  if (best === undefined) throw new Error('there is no head to start from')
  return best
}

/** How much the name of a label counts. An example of the data has several labels; its name says what one of them means. */
const nameWeight = 3

const weighted = ({ counted, ...data }: LabelledVectors, weight: number): LabelledVectors => ({
  ...data,
  counted: counted.map((one) => weight * one),
})

/** The vectors of a subset under the masks of a trainer, with their targets. */
export async function labelledVectors(
  trainer: Trainer,
  space: LabelSpace,
  subset: Subset,
  onDone?: OnExamplesDone,
): Promise<LabelledVectors> {
  const { unit, lossTargets } = problemTraits[space.problem]
  const weights = targetWeights(encodedExamples(subset), { weight: () => 1 }, outputCount(space))
  return {
    vectors: await headInputs(trainer, subset, unit as Exclude<Unit, 'pair'>, onDone),
    targets: lossTargets(space, targetsOf(subset)),
    counted: weights,
  }
}
