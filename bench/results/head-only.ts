// The baseline of a task: the score without a mask. It trains a head on vectors that the frozen backbone computes once.
// For a task without a head it scores the backbone's vectors. A useful mask scores higher.

import type { Backbone } from '../../src/backbones/backbone.js'
import { outputCount } from '../../src/data/label-space.js'
import { shuffledBatches, targetInputs, targetWeights } from '../../src/learn/batches.js'
import {
  evaluateSubset,
  evaluationOf,
  headInputs,
  type OnExamplesDone,
  scoreOf,
  withoutMissingWords,
} from '../../src/learn/evaluation.js'
import {
  encodedExamples,
  examplesWithinVectors,
  labelStarts,
  type Subset,
  sample,
  targetsOf,
} from '../../src/learn/example-set.js'
import { merit } from '../../src/learn/metric-table.js'
import { AdamW, rateShare } from '../../src/learn/optimiser.js'
import type { HeadKind } from '../../src/learn/plan.js'
import { problemTraits } from '../../src/learn/problem-traits.js'
import type { Unit } from '../../src/learn/problems/learned-problem.js'
import { Random } from '../../src/learn/random.js'
import { initialHead, type Tensor } from '../../src/learn/tensors.js'
import { Trainer } from '../../src/learn/trainer.js'
import { stepsOfEpoch } from '../../src/learn/training.js'
import type { TrainingData } from '../../src/learn/training-data.js'
import { headGraph } from '../../src/learn/training-graph.js'
import type { Pooling } from '../../src/petl/task.js'
import { GraphSession } from '../../src/runtime/graph-session.js'
import type { Compute } from '../../src/runtime/providers.js'

export interface HeadOnly {
  readonly score: number
  /** From 1; 0 if the task has no head. */
  readonly bestEpoch: number
  readonly epochs: number
  readonly steps: number
  readonly tensors: readonly Tensor[]
}

/** The best settings found for a linear head. Its learning rate is higher than that of a head trained with a mask. */
export const headOnlyDefaults = { epochs: 50, headRate: 0.02, weightDecay: 0.01 } as const
const denseHeadRate = 0.001

/**
 * Trains a head on the bare backbone.
 * @param signal if aborted, training ends after the current batch or step
 * @param onDone receives how many examples the backbone has encoded, which takes most of the time
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
  onDone?: OnExamplesDone,
): Promise<HeadOnly> {
  const { head, epochs = headOnlyDefaults.epochs, batchRows, pooling, seed, provider, threads } = options
  const { headRate, weightDecay } = headOnlyDefaults
  const rates = { weights: 0, scores: 0, heads: head === 'dense' ? denseHeadRate : headRate }
  const bare = new Trainer(backbone, undefined, [], { rates, weightDecay, density: 1, pooling, provider, threads })
  const { problem } = data.space
  const { unit } = problemTraits[problem]
  try {
    if (unit === 'pair') {
      const evaluation = await evaluateSubset(bare, { problem, head, tensors: [] }, data.space, data.dev)
      return { score: scoreOf(data.metric, data.space, evaluation), bestEpoch: 0, epochs: 0, steps: 0, tensors: [] }
    }
    const train = sample(data.train, examplesWithinVectors(data.train.set), new Random(seed, 'head only rows'))
    const random = new Random(seed, 'head only')
    return await trainOnVectors(bare, { ...data, train }, unit, head, { epochs, batchRows }, random, signal, onDone)
  } finally {
    await bare.release()
  }
}

/**
 * Trains a head on the vectors of the bare backbone and keeps the epoch with the best dev score.
 * @param bare a trainer without a module
 */
async function trainOnVectors(
  bare: Trainer,
  { space, metric, train, dev }: TrainingData,
  unit: Exclude<Unit, 'pair'>,
  headKind: HeadKind,
  { epochs, batchRows }: { readonly epochs: number; readonly batchRows: number },
  random: Random,
  signal?: AbortSignal,
  onDone?: OnExamplesDone,
): Promise<HeadOnly> {
  const H = bare.backbone.dims.hiddenSize
  const { loss, lossTargets } = problemTraits[space.problem]
  const outputs = outputCount(space)
  const tensors = initialHead(space, H, headKind, random)
  const checkSignal = () => signal?.throwIfAborted()
  const onTrainDone: OnExamplesDone = (done, all) => {
    checkSignal()
    onDone?.(done, all)
  }
  const vectorsOf = vectorLookup(train, await headInputs(bare, train, unit, onTrainDone), H)
  const devVectors = await headInputs(bare, dev, unit, checkSignal)
  const options = { threads: 1 }
  const training = await GraphSession.open(headGraph(H, headKind, loss), options)
  const forward = await GraphSession.open(headGraph(H, headKind), options)
  const head = () => Object.fromEntries(tensors.map(({ name, shape, values }) => [name, { shape, data: values }]))
  const optimiser = new AdamW({ weightDecay: bare.options.weightDecay })
  const steps = epochs * stepsOfEpoch([{ train }], batchRows)
  let step = 0
  let best: { score: number; bestEpoch: number; values: Float32Array[] } | undefined
  for (let epoch = 0; epoch < epochs; epoch++) {
    for (const examples of shuffledBatches(train, batchRows, random)) {
      checkSignal()
      const batch: Subset = { set: train.set, examples }
      const gradients = await training.run({
        vectors: matrix(vectorsOf(batch), H),
        ...targetInputs(lossTargets(space, targetsOf(batch)), targetWeights(encodedExamples(batch), loss, outputs)),
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
    const score = scoreOf(
      metric,
      space,
      evaluationOf(withoutMissingWords(logits ?? new Float32Array(), outputs, dev), space, dev),
    )
    if (best === undefined || merit(metric, score) > merit(metric, best.score))
      best = { score, bestEpoch: epoch + 1, values: tensors.map(({ values }) => values.slice()) }
  }
  await Promise.all([training.release(), forward.release()])
  if (best === undefined) throw new Error('a head was trained for no epoch')
  for (const [at, { values }] of tensors.entries()) values.set(best.values[at] ?? [])
  return { score: best.score, bestEpoch: best.bestEpoch, epochs, steps, tensors }
}

const matrix = (data: Float32Array, columns: number) => ({ shape: [data.length / columns, columns], data })

/** Returns a function that looks up the vectors of a batch of the examples, [N, H]. */
function vectorLookup(all: Subset, vectors: Float32Array, H: number): (batch: Subset) => Float32Array {
  const positions = new Map(Array.from(all.examples, (example, at) => [example, at]))
  const starts = labelStarts(all)
  return (batch) => {
    const batchStarts = labelStarts(batch)
    const picked = new Float32Array((batchStarts[batch.examples.length] ?? 0) * H)
    for (const [at, example] of batch.examples.entries()) {
      const position = positions.get(example) ?? 0
      const [start = 0, end = 0] = starts.subarray(position, position + 2)
      picked.set(vectors.subarray(start * H, end * H), (batchStarts[at] ?? 0) * H)
    }
    return picked
  }
}
