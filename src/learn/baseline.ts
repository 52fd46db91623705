// What a task reaches with the frozen backbone alone: a head on vectors that are computed once, or, where a task has no
// head, the vectors as they are. Every mask has to beat it.

import type { Backbone } from '../backbones/backbone.js'
import type { Pooling } from '../petl/task.js'
import type { Compute } from '../runtime/execution-providers.js'
import { GraphSession } from '../runtime/graph-session.js'
import { shuffledBatches, targetInputs, targetWeights } from './batches.js'
import { evaluateSubset, evaluationOf, headInputs, type OnExamplesDone, scoreOf } from './evaluation.js'
import { encodedExamples, exampleCount, labelStarts, type Subset, sample, targetsOf } from './example-set.js'
import { outputCount } from './label-space.js'
import { AdamW, rateShare } from './optimiser.js'
import type { HeadKind } from './plan.js'
import { problemTraits, type Unit } from './problem-traits.js'
import { Random } from './random.js'
import { initialHead, type Tensor } from './tensors.js'
import { Trainer } from './trainer.js'
import { stepsOfEpoch } from './training.js'
import type { TrainingData } from './training-data.js'
import { headGraph } from './training-graph.js'

export interface HeadOnly {
  readonly score: number
  /** From 1; 0 where there is no head to learn. */
  readonly bestEpoch: number
  readonly epochs: number
  readonly steps: number
  readonly tensors: readonly Tensor[]
}

/** A head alone learns from vectors that are held in memory: epochs cost next to nothing, rows do not. */
const maxVectorExamples = 20_000

/** Words have a vector each. */
const maxVectors = 100_000

/** What a linear head alone learns best with: a higher rate than beside a mask that moves under it. */
export const headOnlyDefaults = { epochs: 50, headRate: 0.02, weightDecay: 0.01 } as const
const denseHeadRate = 0.001

/**
 * Learns a head on the bare backbone with the settings that suit one.
 * @param signal once aborted, the head is given up after the current step
 * @param onRows told how many rows have been through the backbone, which takes most of the time
 * @throws the signal's reason
 */
export async function trainHeadOnly(
  backbone: Backbone,
  data: TrainingData,
  options: {
    readonly head: HeadKind
    readonly epochs?: number
    readonly batchRows: number
    readonly pooling: Pooling
    readonly seed: number
  } & Compute,
  signal?: AbortSignal,
  onRows?: OnExamplesDone,
): Promise<HeadOnly> {
  const { head, epochs = headOnlyDefaults.epochs, batchRows, pooling, seed, provider, threads } = options
  const { headRate, weightDecay } = headOnlyDefaults
  const rates = { weights: 0, scores: 0, heads: head === 'dense' ? denseHeadRate : headRate }
  const bare = new Trainer(backbone, undefined, [], { rates, weightDecay, density: 1, pooling, provider, threads })
  const { problem } = data.space
  const { unit } = problemTraits[problem]
  try {
    if (unit === 'pair') {
      const judged = await evaluateSubset(bare, { problem, head, tensors: [] }, data.space, data.dev)
      return { score: scoreOf(data.metric, data.space, judged), bestEpoch: 0, epochs: 0, steps: 0, tensors: [] }
    }
    const train = sample(data.train, examplesWithinVectors(data.train), new Random(seed, 'head only rows'))
    const random = new Random(seed, 'head only')
    return await trainOnVectors(bare, { ...data, train }, unit, head, { epochs, batchRows }, random, signal, onRows)
  } finally {
    await bare.release()
  }
}

/** Rows whose vectors are not too many. */
function examplesWithinVectors({ set: data }: Subset): number {
  const vectors = data.targets.length / data.width
  return Math.max(1, Math.min(maxVectorExamples, Math.floor((maxVectors * exampleCount(data)) / vectors)))
}

/**
 * Learns a head on the bare backbone and keeps its best epoch by dev score.
 * @param bare a learner without a module
 */
async function trainOnVectors(
  bare: Trainer,
  { space, metric, train, dev }: TrainingData,
  unit: Exclude<Unit, 'pair'>,
  headKind: HeadKind,
  { epochs, batchRows }: { readonly epochs: number; readonly batchRows: number },
  random: Random,
  signal?: AbortSignal,
  onRows?: OnExamplesDone,
): Promise<HeadOnly> {
  const H = bare.backbone.dims.hiddenSize
  const { loss, lossTargets } = problemTraits[space.problem]
  const outputs = outputCount(space)
  const tensors = initialHead(space, H, headKind, random)
  const pick = vectorLookup(train, await headInputs(bare, train, unit, onRows), H)
  const devVectors = await headInputs(bare, dev, unit)
  const options = { threads: 1 }
  const learning = await GraphSession.open(headGraph(H, headKind, loss), options)
  const forward = await GraphSession.open(headGraph(H, headKind), options)
  const head = () => Object.fromEntries(tensors.map(({ name, shape, values }) => [name, { shape, data: values }]))
  const optimiser = new AdamW({ weightDecay: bare.options.weightDecay })
  const steps = epochs * stepsOfEpoch([{ train }], batchRows)
  let step = 0
  let best: { score: number; bestEpoch: number; values: Float32Array[] } | undefined
  for (let epoch = 0; epoch < epochs; epoch++) {
    for (const rows of shuffledBatches(train, batchRows, random)) {
      signal?.throwIfAborted()
      const part: Subset = { set: train.set, examples: rows }
      const gradients = await learning.run({
        vectors: matrix(pick(part), H),
        ...targetInputs(lossTargets(space, targetsOf(part)), targetWeights(encodedExamples(part), loss, outputs)),
        ...head(),
      })
      const rate = bare.options.rates.heads * rateShare(step++, steps)
      for (const { name, values, shape } of tensors)
        optimiser.update(
          values,
          gradients.get(`${name}.grad`) ?? new Float32Array(values.length),
          rate,
          shape.length > 1,
        )
    }
    const logits = (await forward.run({ vectors: matrix(devVectors, H), ...head() })).get('logits')
    const score = scoreOf(metric, space, evaluationOf(logits ?? new Float32Array(), space, dev))
    if (best === undefined || score > best.score)
      best = { score, bestEpoch: epoch + 1, values: tensors.map(({ values }) => values.slice()) }
  }
  await Promise.all([learning.release(), forward.release()])
  if (best === undefined) throw new Error('a head was learned for no epoch')
  for (const [at, { values }] of tensors.entries()) values.set(best.values[at] ?? [])
  return { score: best.score, bestEpoch: best.bestEpoch, epochs, steps, tensors }
}

const matrix = (data: Float32Array, columns: number) => ({ shape: [data.length / columns, columns], data })

/** Looks up the vectors of some of a part's rows, [units, H]. */
function vectorLookup(part: Subset, vectors: Float32Array, H: number): (rows: Subset) => Float32Array {
  const places = new Map(Array.from(part.examples, (row, at) => [row, at]))
  const starts = labelStarts(part)
  return (wanted) => {
    const ends = labelStarts(wanted)
    const picked = new Float32Array((ends[wanted.examples.length] ?? 0) * H)
    for (const [at, row] of wanted.examples.entries()) {
      const [start = 0, end = 0] = starts.subarray(places.get(row), (places.get(row) ?? 0) + 2)
      picked.set(vectors.subarray(start * H, end * H), (ends[at] ?? 0) * H)
    }
    return picked
  }
}
