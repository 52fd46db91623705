// What a task reaches with the frozen backbone alone: a head on pooled rows that are computed once. Every mask has to
// beat it.

import type { Backbone } from '../backbones/backbone.js'
import { GraphSession } from '../engine/graph-session.js'
import type { Pooling } from '../formats/task-file.js'
import { rowWeight, shuffledBatches, targetInputs } from './batches.js'
import { type Part, sample, targetsOf } from './data-set.js'
import { type OnRows, pooledRows, predictionsOf, scoreOf } from './evaluation.js'
import { lossTargets, outputsOf } from './labels.js'
import { Learner } from './learner.js'
import { AdamW, rateShare } from './optimiser.js'
import { headParameters } from './plan.js'
import { Random } from './random.js'
import type { TaskData } from './task-data.js'
import { headBeginning, type Tensor } from './tensors.js'
import type { TrainingTask } from './training.js'
import { headGraph } from './training-graph.js'

export interface HeadOnly {
  readonly score: number
  /** From 1. */
  readonly bestEpoch: number
  readonly epochs: number
  readonly steps: number
  readonly tensors: readonly Tensor[]
}

/** A head alone learns from pooled rows that are held in memory: epochs cost next to nothing, rows do not. */
const mostRows = 20_000

/** What a head alone learns best with: a higher rate than beside a mask that moves under it. */
export const headLearning = { epochs: 50, headRate: 0.02, weightDecay: 0.01 } as const

/**
 * Learns a head on the bare backbone with the settings that suit one.
 * @param signal once aborted, the head is given up after the current step
 * @param onRows told how many rows have been through the backbone, which takes most of the time
 * @throws the signal's reason
 */
export async function headAlone(
  backbone: Backbone,
  data: TaskData,
  options: {
    readonly epochs?: number
    readonly batchRows: number
    readonly pooling: Pooling
    readonly seed: number
    readonly threads: number
  },
  signal?: AbortSignal,
  onRows?: OnRows,
): Promise<HeadOnly> {
  const { epochs = headLearning.epochs, batchRows, pooling, seed, threads } = options
  const { headRate, weightDecay } = headLearning
  const rates = { weights: 0, scores: 0, heads: headRate }
  const bare = new Learner(backbone, undefined, [], { rates, weightDecay, density: 1, pooling, threads })
  const train = sample(data.train, mostRows, new Random(seed, 'head only rows'))
  const task = { ...data, id: 'task', problem: data.space.problem, train }
  try {
    return await learnHeadOnly(bare, task, { epochs, batchRows }, new Random(seed, 'head only'), signal, onRows)
  } finally {
    await bare.release()
  }
}

/**
 * Learns a head on the bare backbone and keeps its best epoch by dev score.
 * @param bare a learner without a module
 */
async function learnHeadOnly(
  bare: Learner,
  task: Omit<TrainingTask, 'tensors'>,
  { epochs, batchRows }: { readonly epochs: number; readonly batchRows: number },
  random: Random,
  signal?: AbortSignal,
  onRows?: OnRows,
): Promise<HeadOnly> {
  const H = bare.backbone.config.hidden_size
  const outputs = outputsOf(task.space)
  const tensors = headBeginning(headParameters(outputs, H), H, random)
  const pick = picker(task.train, await pooledRows(bare, task.train, onRows), H)
  const dev = await pooledRows(bare, task.dev)
  const options = { threads: 1 }
  const learning = await GraphSession.open(headGraph(H, { mode: 'learn', problem: task.problem }), options)
  const forward = await GraphSession.open(headGraph(H, { mode: 'forward', problem: task.problem }), options)
  const head = () => Object.fromEntries(tensors.map(({ name, shape, values }) => [name, { shape, data: values }]))
  const actual = targetsOf(task.dev)
  const optimiser = new AdamW({ weightDecay: bare.options.weightDecay })
  const steps = epochs * Math.ceil(task.train.rows.length / batchRows)
  let step = 0
  let best: { score: number; bestEpoch: number; values: Float32Array[] } | undefined
  for (let epoch = 0; epoch < epochs; epoch++) {
    for (const rows of shuffledBatches(task.train, batchRows, random)) {
      signal?.throwIfAborted()
      const part: Part = { data: task.train.data, rows }
      const gradients = await learning.run({
        pooled_rows: { shape: [rows.length, H], data: pick(rows) },
        ...targetInputs(
          lossTargets(task.space, targetsOf(part)),
          rows.length,
          rowWeight(task.problem, rows.length, outputs),
        ),
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
    const pooled = { shape: [task.dev.rows.length, H], data: dev }
    const logits = (await forward.run({ pooled_rows: pooled, ...head() })).get('logits') ?? new Float32Array()
    const score = scoreOf(task.metric, task.space, predictionsOf(task.space, logits), actual)
    if (best === undefined || score > best.score)
      best = { score, bestEpoch: epoch + 1, values: tensors.map(({ values }) => values.slice()) }
  }
  await Promise.all([learning.release(), forward.release()])
  if (best === undefined) throw new Error('a head was learned for no epoch')
  for (const [at, { values }] of tensors.entries()) values.set(best.values[at] ?? [])
  return { score: best.score, bestEpoch: best.bestEpoch, epochs, steps, tensors }
}

/** Looks up the pooled vectors of some of a part's rows. */
function picker(part: Part, pooled: Float32Array, H: number): (rows: Int32Array) => Float32Array {
  const places = new Map(Array.from(part.rows, (row, at) => [row, at]))
  return (rows) => {
    const picked = new Float32Array(rows.length * H)
    for (const [at, row] of rows.entries()) {
      const from = (places.get(row) ?? 0) * H
      picked.set(pooled.subarray(from, from + H), at * H)
    }
    return picked
  }
}
