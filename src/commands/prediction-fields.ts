// The columns that `predict` adds to a row, for each problem type.

import type { LabelSpace } from '../data/label-space.js'
import { tagsOf } from '../formats/iob.js'
import { Problem } from '../problem.js'
import type { LabelScore } from '../tasks/heads.js'
import type { Prediction } from '../tasks/predictions.js'
import type { LabelledWord } from '../tasks/words.js'
import { listCell, type TableFormat } from './table-writer.js'

export interface PredictionField {
  readonly name: string
  readonly of: (prediction: Prediction) => unknown
}

/**
 * @param withScores whether to add the scores of all labels
 * @throws Problem `invalid_setting` for vectors in CSV or TSV
 */
export function predictionFields(space: LabelSpace, format: TableFormat, withScores: boolean): PredictionField[] {
  const { problem, labels } = space
  switch (problem) {
    case 'single_label_classification':
      return [...bestLabel, ...(withScores ? allScores(labels, format) : [])]
    case 'multi_label_classification':
      return [labelList(labels, format), ...bestLabel, ...(withScores ? allScores(labels, format) : [])]
    case 'regression':
      return [{ name: 'value', of: (prediction) => ('score' in prediction ? prediction.score : null) }]
    case 'token_classification':
      return tagsOf(labels) ? [entities, ...(withScores ? [words(true)] : [])] : [words(withScores)]
    case 'feature_extraction':
      if (format === 'jsonl') return [vector]
      throw new Problem(
        'invalid_setting',
        'a feature_extraction predicts vectors, which need JSON lines; add --out with a name that ends in .jsonl',
      )
  }
}

const bestLabel: readonly PredictionField[] = [
  { name: 'label', of: (prediction) => ('label' in prediction ? prediction.label : null) },
  { name: 'score', of: (prediction) => ('label' in prediction ? roundedScore(prediction.score) : null) },
]

const labelList = (labels: readonly string[], format: TableFormat): PredictionField => {
  const namesHaveCommas = labels.some((label) => label.includes(','))
  return {
    name: 'labels',
    of: (prediction) => {
      if (!('labels' in prediction)) return null
      return format === 'jsonl' ? prediction.labels : listCell(prediction.labels, namesHaveCommas)
    },
  }
}

function allScores(labels: readonly string[], format: TableFormat): PredictionField[] {
  const scoresOf = (prediction: Prediction) => ('scores' in prediction ? prediction.scores : [])
  if (format === 'jsonl') return [{ name: 'scores', of: (prediction) => byLabel(scoresOf(prediction)) }]
  return labels.map((label, at) => ({
    name: `score_${label}`,
    of: (prediction) => roundedScore(scoresOf(prediction)[at]?.score ?? Number.NaN),
  }))
}

const entities: PredictionField = {
  name: 'entities',
  of: (prediction) =>
    'entities' in prediction
      ? prediction.entities?.map((entity) => ({ ...entity, score: roundedScore(entity.score) }))
      : null,
}

const words = (withScores: boolean): PredictionField => ({
  name: 'words',
  of: (prediction) => ('words' in prediction ? prediction.words.map((word) => wordFields(word, withScores)) : null),
})

const wordFields = ({ text, start, end, label, score, scores }: LabelledWord, withScores: boolean) => ({
  text,
  start,
  end,
  label,
  score: roundedScore(score),
  ...(withScores && { scores: byLabel(scores) }),
})

const vector: PredictionField = {
  name: 'vector',
  of: (prediction) => ('embedding' in prediction ? prediction.embedding.map(roundedScore) : null),
}

const byLabel = (scores: readonly LabelScore[]) =>
  Object.fromEntries(scores.map(({ label, score }) => [label, roundedScore(score)]))

/** Further digits of a score differ between machines, and with the other texts of a batch. */
export const roundedScore = (value: number): number => Number(value.toPrecision(6))
