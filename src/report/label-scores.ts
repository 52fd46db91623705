// Precision, recall and F1 of each label of an evaluation, as classification_report of scikit-learn has them. For labels
// that mark entities (IOB2) it counts entities of each type, as seqeval does.

import { type LabelSpace, labelNames, outputCount } from '../data/label-space.js'
import { entitiesOf, type Tags, tagsOf } from '../formats/iob.js'
import type { Predictions } from '../learn/evaluation.js'

export interface Scores {
  /** 0 if the label is never predicted. */
  readonly precision: number
  /** 0 if the label never occurs. */
  readonly recall: number
  readonly f1: number
  /** How often the label occurs. */
  readonly support: number
}

export interface LabelScores extends Scores {
  readonly label: string
}

export interface LabelTable {
  /** What is counted. */
  readonly unit: 'examples' | 'words' | 'entities'
  /** In the order of the task, without labels that neither occur nor are predicted. */
  readonly labels: readonly LabelScores[]
  /** Of all counts together. */
  readonly micro: Scores
  /** Mean over the labels. */
  readonly macro: Scores
  /** Mean over the labels, weighted by support. */
  readonly weighted: Scores
}

/** Undefined if labels are numbers. */
export function labelTable(space: LabelSpace, evaluation: Predictions): LabelTable | undefined {
  const { predictions, actual } = evaluation
  const names = labelNames(space)
  switch (space.problem) {
    case 'single_label_classification':
      return tableOf('examples', names, countClasses(predictions, actual, names.length))
    case 'multi_label_classification':
      return tableOf('examples', space.labels, countApplying(predictions, actual, outputCount(space)))
    case 'token_classification': {
      const tags = tagsOf(names) ?? tagsOf(space.labels)
      if (tags === undefined) return tableOf('words', names, countClasses(predictions, actual, names.length))
      const types = [...new Set(tags.flatMap((tag) => tag?.type ?? []))].sort()
      return tableOf('entities', types, countEntities(evaluation, tags, types))
    }
    case 'regression':
    case 'feature_extraction':
      return undefined
  }
}

/** Of one label, or of several together. */
interface Counts {
  correct: number
  predicted: number
  actual: number
}

const noCounts = (labels: number): Counts[] =>
  Array.from({ length: labels }, () => ({ correct: 0, predicted: 0, actual: 0 }))

/** @param predictions −1 for words without a prediction */
function countClasses(predictions: ArrayLike<number>, actual: ArrayLike<number>, C: number): Counts[] {
  const counts = noCounts(C)
  for (let at = 0; at < actual.length; at++) {
    const [predicted, expected] = [counts[predictions[at] ?? -1], counts[actual[at] ?? -1]]
    if (predicted) predicted.predicted++
    if (expected) expected.actual++
    if (predicted && predicted === expected) predicted.correct++
  }
  return counts
}

/** @param predictions [N, C]: 1 where a label applies, as in `actual` */
function countApplying(predictions: ArrayLike<number>, actual: ArrayLike<number>, C: number): Counts[] {
  const counts = noCounts(C)
  for (let at = 0; at < actual.length; at++) {
    const count = counts[at % C]
    const [predicted, expected] = [predictions[at] === 1, actual[at] === 1]
    if (count === undefined) continue
    if (predicted) count.predicted++
    if (expected) count.actual++
    if (predicted && expected) count.correct++
  }
  return counts
}

function countEntities({ predictions, actual, starts }: Predictions, tags: Tags, types: readonly string[]): Counts[] {
  const counts = noCounts(types.length)
  const countOf = new Map(types.map((type, at) => [type, counts[at]]))
  for (let text = 0; text + 1 < starts.length; text++) {
    const entities = (labels: ArrayLike<number>) => {
      const [start = 0, end = 0] = [starts[text], starts[text + 1]]
      return entitiesOf(Array.from({ length: end - start }, (_, word) => tags[labels[start + word] ?? -1]))
    }
    const keyOf = ({ type, first, end }: { type: string; first: number; end: number }) => `${first} ${end} ${type}`
    const expected = entities(actual)
    const keys = new Set(expected.map(keyOf))
    for (const { type } of expected) {
      const count = countOf.get(type)
      if (count) count.actual++
    }
    for (const entity of entities(predictions)) {
      const count = countOf.get(entity.type)
      if (count === undefined) continue
      count.predicted++
      if (keys.has(keyOf(entity))) count.correct++
    }
  }
  return counts
}

function tableOf(unit: LabelTable['unit'], names: readonly string[], counts: readonly Counts[]): LabelTable {
  const labels: LabelScores[] = []
  const all: Counts = { correct: 0, predicted: 0, actual: 0 }
  for (const [at, count] of counts.entries()) {
    if (count.predicted + count.actual > 0) labels.push({ label: names[at] ?? '', ...scoresOf(count) })
    all.correct += count.correct
    all.predicted += count.predicted
    all.actual += count.actual
  }
  return {
    unit,
    labels,
    micro: scoresOf(all),
    macro: meanOf(labels, () => 1),
    weighted: meanOf(labels, ({ support }) => support),
  }
}

function scoresOf({ correct, predicted, actual }: Counts): Scores {
  const share = (part: number, of: number) => (of === 0 ? 0 : part / of)
  return {
    precision: share(correct, predicted),
    recall: share(correct, actual),
    f1: share(2 * correct, predicted + actual),
    support: actual,
  }
}

function meanOf(labels: readonly Scores[], weightOf: (scores: Scores) => number): Scores {
  const sumOf = (value: (scores: Scores) => number) => labels.reduce((sum, scores) => sum + value(scores), 0)
  const weights = sumOf(weightOf)
  const mean = (value: (scores: Scores) => number) =>
    weights === 0 ? 0 : sumOf((scores) => weightOf(scores) * value(scores)) / weights
  return {
    precision: mean(({ precision }) => precision),
    recall: mean(({ recall }) => recall),
    f1: mean(({ f1 }) => f1),
    support: sumOf(({ support }) => support),
  }
}
