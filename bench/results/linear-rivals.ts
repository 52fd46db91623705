// Linear models on the vectors of the bare backbone, as users would fit them with scikit-learn: balanced logistic regression
// for each label, and ridge regression for numbers.

import { defaultColumns } from '../../src/data/columns.js'
import { UnlearnedLabels } from '../../src/data/unlearned-labels.js'
import { evaluationOf, scoreOf } from '../../src/learn/evaluation.js'
import { type Subset, wholeSet } from '../../src/learn/example-set.js'
import { pickVectors } from '../../src/learn/head-selection.js'
import { type LabelledVectors, type LinearHead, LinearHeads, scalingOf } from '../../src/learn/linear-head.js'
import { loadExampleSet } from '../../src/learn/load-example-set.js'
import { binaryCrossEntropy } from '../../src/learn/losses.js'
import type { Model } from '../../src/learn/model.js'
import { problemTraits } from '../../src/learn/problem-traits.js'
import { loadTrainingData } from '../../src/learn/training-data.js'
import { Problem } from '../../src/problem.js'
import { bareVectors } from './few-shot-methods.js'

/** A linear model, and its scores on the test rows. */
export interface Rival {
  readonly name: string
  readonly scores: Readonly<Record<string, number>>
}

/**
 * Fits linear models to the vectors of the rows of one file, and scores them on another one. The vectors have a norm of 1, as
 * embeddings usually have, because the models are better on those.
 * @throws Problem `invalid_data` unless the rows have several labels or numbers
 */
export async function scoreRivals(model: Model, train: string, test: string): Promise<readonly Rival[]> {
  const { backbone, tokenizer } = model
  const { hiddenSize: H, vocabulary } = backbone.dims
  const options = { data: train, devShare: 0.1, columns: defaultColumns, seed: 1 }
  const { space: learned, texts, ...data } = await loadTrainingData(model, options, () => {})
  const space = { ...learned, unlearned: new UnlearnedLabels() }
  const form = { maxLength: tokenizer.maxTokens, ...texts }
  const testRows = wholeSet(await loadExampleSet(test, defaultColumns, space, tokenizer, form, vocabulary))
  const vectorsOf = async (rows: Subset) => withUnitNorm(await bareVectors({ model }, space, rows), H)
  const fitted = await vectorsOf(wholeSet(data.train.set))
  const { vectors } = await vectorsOf(testRows)
  const rival = (name: string, head: LinearHead): Rival => {
    const evaluation = evaluationOf(outputsOf(head, vectors, H), space, testRows)
    const metrics = problemTraits[space.problem].metrics(space)
    return { name, scores: Object.fromEntries(metrics.map((metric) => [metric, scoreOf(metric, space, evaluation)])) }
  }
  switch (space.problem) {
    case 'multi_label_classification':
      return [rival('balanced logistic regression', await fitBalanced(fitted, space.labels.length, H))]
    case 'regression':
      return [
        rival('ridge, α = 1', fitRidge(fitted, H, 1)),
        rival('ridge, α by cross-validation', fitRidge(fitted, H, selectAlpha(fitted, H))),
      ]
    default:
      throw new Problem('invalid_data', `${train} is a ${space.problem}; expected several labels per text, or numbers`)
  }
}

function withUnitNorm({ vectors, ...data }: LabelledVectors, H: number): LabelledVectors {
  const scaled = vectors.slice()
  for (let start = 0; start < scaled.length; start += H) {
    const vector = scaled.subarray(start, start + H)
    const norm = Math.hypot(...vector)
    vector.set(vector.map((value) => value / norm))
  }
  return { ...data, vectors: scaled }
}

/** The outputs of a head, [N, C]. */
function outputsOf({ weight, bias }: LinearHead, vectors: Float32Array, H: number): Float32Array {
  const C = bias.length
  return Float32Array.from({ length: (vectors.length / H) * C }, (_, at) => {
    const [row, output] = [Math.floor(at / C), at % C]
    let sum = bias[output] ?? 0
    for (let i = 0; i < H; i++) sum += (weight[output * H + i] ?? 0) * (vectors[row * H + i] ?? 0)
    return sum
  })
}

/** `OneVsRestClassifier(LogisticRegression(C=1, class_weight='balanced'))` of scikit-learn. */
export async function fitBalanced(
  { vectors, targets, counted }: LabelledVectors,
  labels: number,
  H: number,
): Promise<LinearHead> {
  const rows = counted.length
  // The penalty of LinearHeads is of scaled vectors, and its loss is the mean.
  const penalty = scalingOf(vectors, H).factor ** 2 / rows
  const heads = await LinearHeads.open(H, 1, binaryCrossEntropy, 1)
  const weight = new Float32Array(labels * H)
  const bias = new Float32Array(labels)
  try {
    for (let label = 0; label < labels; label++) {
      const own = counted.map((_, row) => targets[row * labels + label] ?? 0)
      const positives = own.reduce((sum, applies) => sum + applies, 0)
      const balanced = own.map((applies) => rows / (2 * (applies ? positives : rows - positives)))
      const head = await heads.fit({ vectors, targets: own, counted: balanced }, penalty)
      weight.set(head.weight, label * H)
      bias.set(head.bias, label)
    }
  } finally {
    await heads.release()
  }
  return { weight, bias }
}

/** `Ridge(alpha)` of scikit-learn: the squared errors plus `alpha` times the squared weights are least. */
export function fitRidge({ vectors, targets }: LabelledVectors, H: number, alpha: number): LinearHead {
  const { mean } = scalingOf(vectors, H)
  const centre = targets.reduce((sum, target) => sum + target, 0) / targets.length
  const products = new Float64Array(H * H)
  const right = new Float64Array(H)
  const row = new Float64Array(H)
  for (const [at, target] of targets.entries()) {
    for (let i = 0; i < H; i++) row[i] = (vectors[at * H + i] ?? 0) - (mean[i] ?? 0)
    for (let i = 0; i < H; i++) {
      const value = row[i] ?? 0
      right[i] = (right[i] ?? 0) + value * (target - centre)
      for (let j = 0; j <= i; j++) products[i * H + j] = (products[i * H + j] ?? 0) + value * (row[j] ?? 0)
    }
  }
  for (let i = 0; i < H; i++) products[i * H + i] = (products[i * H + i] ?? 0) + alpha
  const weight = solvePositive(products, right)
  const bias = centre - weight.reduce((sum, value, i) => sum + value * (mean[i] ?? 0), 0)
  return { weight: Float32Array.from(weight), bias: Float32Array.of(bias) }
}

/** Solves A x = b by Cholesky's factorisation. @param A symmetric and positive definite, of which the lower half is used */
function solvePositive(A: Float64Array, b: Float64Array): Float64Array {
  const n = b.length
  const L = A.slice()
  const x = b.slice()
  const at = (i: number, j: number) => L[i * n + j] ?? 0
  for (let j = 0; j < n; j++)
    for (let i = j; i < n; i++) {
      let value = at(i, j)
      for (let k = 0; k < j; k++) value -= at(i, k) * at(j, k)
      L[i * n + j] = i === j ? Math.sqrt(value) : value / at(j, j)
    }
  for (let i = 0; i < n; i++) {
    let value = x[i] ?? 0
    for (let k = 0; k < i; k++) value -= at(i, k) * (x[k] ?? 0)
    x[i] = value / at(i, i)
  }
  for (let i = n - 1; i >= 0; i--) {
    let value = x[i] ?? 0
    for (let k = i + 1; k < n; k++) value -= at(k, i) * (x[k] ?? 0)
    x[i] = value / at(i, i)
  }
  return x
}

const alphas = [0.1, 0.3, 1, 3, 10, 30, 100, 300]
const folds = 5

/** The penalty with the lowest squared error in cross-validation, in which every fifth row is held out together. */
function selectAlpha(examples: LabelledVectors, H: number): number {
  const parts = Array.from({ length: folds }, (_, fold) => {
    const places = Array.from(examples.counted.keys())
    const pick = (isOwn: (place: number) => boolean) => pickVectors(examples, Int32Array.from(places.filter(isOwn)))
    return { fitted: pick((place) => place % folds !== fold), heldOut: pick((place) => place % folds === fold) }
  })
  const error = (alpha: number) =>
    parts.reduce((sum, { fitted, heldOut }) => sum + squaredError(fitRidge(fitted, H, alpha), heldOut, H), 0)
  const errors = alphas.map(error)
  return alphas[errors.indexOf(Math.min(...errors))] ?? 1
}

const squaredError = (head: LinearHead, { vectors, targets }: LabelledVectors, H: number) =>
  outputsOf(head, vectors, H).reduce((sum, output, row) => sum + (output - (targets[row] ?? 0)) ** 2, 0)
