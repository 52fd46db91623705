// Precision, recall and F1 of each label of an evaluation, as classification_report of scikit-learn has them. For labels
// that mark entities (IOB2) it counts entities of each type, as seqeval does.

import { type LabelSpace, labelNames, outputCount } from '../data/label-space.js'
import { tagsOf } from '../formats/iob.js'
import type { Predictions } from '../learn/evaluated-examples.js'
import { classCounts, entityCounts, type LabelCounts, setCounts } from '../learn/metrics.js'

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
export function labelTable(space: LabelSpace, { predictions, actual, starts }: Predictions): LabelTable | undefined {
  const names = labelNames(space)
  switch (space.problem) {
    case 'single_label_classification':
      return tableOf('examples', names, classCounts(predictions, actual, names.length))
    case 'multi_label_classification':
      return tableOf('examples', space.labels, setCounts(predictions, actual, outputCount(space)))
    case 'token_classification': {
      const tags = tagsOf(names) ?? tagsOf(space.labels)
      if (tags === undefined) return tableOf('words', names, classCounts(predictions, actual, names.length))
      const types = [...new Set(tags.flatMap((tag) => tag?.type ?? []))].sort()
      return tableOf('entities', types, entityCounts(predictions, actual, starts, tags, types))
    }
    case 'regression':
    case 'feature_extraction':
      return undefined
  }
}

function tableOf(unit: LabelTable['unit'], names: readonly string[], counts: LabelCounts): LabelTable {
  const ofLabels = names.map((label, at) => {
    const [correct = 0, predicted = 0, actual = 0] = [counts.correct[at], counts.predicted[at], counts.actual[at]]
    return { label, correct, predicted, actual }
  })
  const labels = ofLabels
    .filter(({ predicted, actual }) => predicted + actual > 0)
    .map(({ label, ...own }) => ({ label, ...scoresOf(own) }))
  const sumOf = (what: keyof LabelCounts) => ofLabels.reduce((sum, label) => sum + label[what], 0)
  return {
    unit,
    labels,
    micro: scoresOf({ correct: sumOf('correct'), predicted: sumOf('predicted'), actual: sumOf('actual') }),
    macro: meanOf(labels, () => 1),
    weighted: meanOf(labels, ({ support }) => support),
  }
}

function scoresOf({ correct, predicted, actual }: Readonly<Record<keyof LabelCounts, number>>): Scores {
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
