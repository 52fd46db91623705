// The methods that few-shot runs compare with `learn`: a head alone, a mask even where a head alone is better, logistic
// regression, and a plain adapter.

import { writeFile } from 'node:fs/promises'
import { defaultColumns } from '../../src/data/columns.js'
import { type LabelSpace, labelNames } from '../../src/data/label-space.js'
import { UnlearnedLabels } from '../../src/data/unlearned-labels.js'
import { type Subset, targetsOf, wholeSet } from '../../src/learn/example-set.js'
import { type LabelledVectors, type LinearHead, LinearHeads, scalingOf } from '../../src/learn/linear-head.js'
import { loadExampleSet } from '../../src/learn/load-example-set.js'
import { crossEntropy } from '../../src/learn/losses.js'
import { defaultPooling, type Model } from '../../src/learn/model.js'
import { type NewTask, trainNewTask } from '../../src/learn/new-task.js'
import { trainPrototype } from '../../src/learn/prototype-training.js'
import { labelledVectors } from '../../src/learn/starting-point.js'
import { Trainer } from '../../src/learn/trainer.js'
import { loadTrainingData, type TrainingData } from '../../src/learn/training-data.js'
import { methodDefaults } from '../../src/learn/training-methods.js'
import { petlKinds } from '../../src/petl/kinds.js'
import type { Prototype } from '../../src/petl/prototype.js'
import { readTaskFile, type TaskFile } from '../../src/petl/task-file.js'
import { finish } from '../../src/steps.js'
import { classify, logitsOf } from '../../src/tasks/heads.js'
import { moduleMethods } from './compared-methods.js'

/** What the methods train with. */
export interface Material {
  readonly model: Model
  readonly prototype: Prototype
  /** Tasks whose masks training may start from, by id. */
  readonly known: ReadonlyMap<string, TaskFile>
  readonly textPrefix: string
}

/** Vectors of the bare backbone [N, H], and the label of each row. */
export interface JudgedVectors {
  readonly vectors: Float32Array
  readonly labels: readonly string[]
}

/** Loads a sample as `learn` does. @param test rows to score on after each epoch; by default a part of the sample */
export const loadSample = ({ model, textPrefix }: Material, train: string, test?: string): Promise<TrainingData> =>
  loadTrainingData(
    model,
    {
      ...{ data: train, devShare: 0.1, columns: defaultColumns, seed: 1, metric: 'accuracy' as const },
      ...(textPrefix !== '' && { textPrefix }),
      ...(test !== undefined && { dev: test }),
    },
    () => {},
  )

const control = () => ({ onProgress: () => {}, signal: new AbortController().signal })

/** The defaults of `learn`. */
const learnDefaults = {
  maskRows: 'layer',
  combine: 'none',
  batchRows: 32,
  density: 0.5,
  weightDecay: 0.1,
  head: 'linear',
  normalize: true,
  seed: 1,
  threads: 0,
  baseline: false,
} as const

export const trainHeadAlone = ({ model }: Material, data: TrainingData): Promise<NewTask> =>
  trainNewTask(model, undefined, data, { ...learnDefaults, pooling: defaultPooling(model.backbone) }, control())

/** Trains as `learn` does, but keeps the mask even if the head alone is better. */
export const trainWithMask = ({ model, prototype, known }: Material, data: TrainingData): Promise<NewTask> =>
  trainNewTask(
    model,
    prototype,
    data,
    { ...learnDefaults, pooling: defaultPooling(model.backbone), requireMask: true },
    control(),
    known,
  )

/** Vectors under the bare backbone, and their targets. */
export async function bareVectors(
  { model: { backbone } }: Pick<Material, 'model'>,
  space: LabelSpace,
  rows: Subset,
): Promise<LabelledVectors> {
  const rates = { weights: 0, scores: 0, heads: 0 }
  const options = { rates, density: 0.5, weightDecay: 0, pooling: defaultPooling(backbone), threads: 0 }
  const bare = new Trainer(backbone, undefined, [], options)
  try {
    return await labelledVectors(bare, space, rows)
  } finally {
    await bare.release()
  }
}

/** All rows of a file with their labels, which may be others than those of the sample. */
export async function judgedVectors(
  material: Material,
  path: string,
  { space }: Pick<TrainingData, 'space'>,
): Promise<JudgedVectors> {
  const { backbone, tokenizer } = material.model
  const { textPrefix } = material
  const form = { maxLength: tokenizer.maxTokens, ...(textPrefix !== '' && { textPrefix }) }
  const lenient = { ...space, unlearned: new UnlearnedLabels() }
  const set = await loadExampleSet(path, defaultColumns, lenient, tokenizer, form, backbone.dims.vocabulary)
  const rows = wholeSet(set)
  const { vectors } = await bareVectors(material, lenient, rows)
  const names = labelNames(lenient)
  return { vectors, labels: Array.from(targetsOf(rows), (label) => names[label] ?? '') }
}

/** The share of rows whose label a task file without a mask predicts, from the vectors of the bare backbone. */
export function accuracyOfHead(file: Uint8Array, test: JudgedVectors): number {
  const task = readTaskFile(file)
  if (task.problemType !== 'single_label_classification' || task.mask !== undefined)
    throw new Error('expected a single-label classification without a mask')
  const { labels, head, thresholds } = task
  return accuracy(test, (vector) => {
    const options = { rawScores: false, topK: 1 }
    return finish(classify(labels, logitsOf(head, vector), options, thresholds)).label
  })
}

/** The accuracy of logistic regression, with the labels in the order of the vectors' targets. */
export async function accuracyOfLogisticRegression(
  train: LabelledVectors,
  labels: readonly string[],
  H: number,
  test: JudgedVectors,
): Promise<number> {
  const { weight, bias } = await fitLogisticRegression(train, labels.length, H)
  const head = { output: { inputs: H, outputs: labels.length, weight, bias } }
  return accuracy(test, (vector) => {
    const logits = logitsOf(head, vector)
    return labels[logits.indexOf(Math.max(...logits))] ?? ''
  })
}

/** Fits with the default penalty of scikit-learn, C = 1. */
export async function fitLogisticRegression(train: LabelledVectors, outputs: number, H: number): Promise<LinearHead> {
  const heads = await LinearHeads.open(H, outputs, crossEntropy, 0)
  const { factor } = scalingOf(train.vectors, H)
  const rows = train.vectors.length / H
  // scikit-learn penalises the weights for two labels as one vector, which is the difference of ours; its square is twice
  // the sum of our squares. The penalty of LinearHeads is of scaled vectors.
  const penalty = ((outputs === 2 ? 2 : 1) * factor ** 2) / rows
  try {
    return await heads.fit(train, penalty)
  } finally {
    await heads.release()
  }
}

function accuracy({ vectors, labels }: JudgedVectors, predict: (vector: Float32Array) => string): number {
  const H = vectors.length / labels.length
  const right = labels.filter((label, row) => predict(vectors.subarray(row * H, (row + 1) * H)) === label)
  return right.length / labels.length
}

/** Passes of a plain adapter over the rows. Each is followed by a score on all test rows, which takes most of the time. */
const plainEpochs = 12

/**
 * The accuracy of a plain adapter on test rows, by the method "plain" of `train`. Its best epoch is chosen by the test rows
 * themselves, so the score is optimistic.
 */
export async function accuracyOfPlainAdapter(material: Material, train: string, test: string): Promise<number> {
  const { backbone } = material.model
  const { density, scoreRate } = methodDefaults.plain
  const { result } = await trainPrototype(
    backbone,
    [{ id: 'plain', ...(await loadSample(material, train, test)) }],
    {
      ...learnDefaults,
      ...{ method: 'plain', combine: 'or', module: moduleMethods.plain.module, density, epochs: plainEpochs },
      rates: { weights: petlKinds.adapter.weightRate, scores: scoreRate, heads: 0.005 },
      pooling: defaultPooling(backbone),
    },
    control(),
  )
  return result.score
}

export const writeTask = async (path: string, { file }: NewTask): Promise<string> => {
  await writeFile(path, file)
  return path
}
