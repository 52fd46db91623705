// The report of a trained task, for a page that draws it: scores of labels, confusions, reliability and curves.

import type { NewTask } from '../learn/new-task.js'
import { reliabilityOf } from '../learn/reliability.js'
import { shortened } from '../problem.js'
import { labelTable } from '../report/label-scores.js'
import { matrixOf } from '../report/page.js'
import { type LearnReport, reportLimits } from './messages.js'

/** JSON has only finite numbers. A correlation that is not defined counts as none. */
export const finite = (value: number): number => (Number.isFinite(value) ? value : 0)

const nameOf = (label: string): string => shortened(label, reportLimits.labelLength)

export function learnReport(
  task: NewTask,
  run: Pick<LearnReport, 'examples' | 'warnings' | 'seconds'> & { readonly curve: readonly LearnReport['curve'][0][] },
): LearnReport {
  const { space, evaluation } = task.judged
  const { result, metric, calibrationError, headOnly, confusions } = task
  const table = labelTable(space, evaluation)
  const matrix = matrixOf(space, evaluation, confusions)
  const reliability = reliabilityOf(space, evaluation)
  const { losses = [] } = result
  const report: LearnReport = {
    problem_type: space.problem,
    metric,
    examples: run.examples,
    held_out: result.heldOut,
    folds: result.folds,
    ...(calibrationError !== undefined && { calibration_error: finite(calibrationError) }),
    ...(headOnly !== undefined && { head_only: finite(headOnly) }),
    ...(table && { label_unit: table.unit, labels: mostFrequent(table.labels) }),
    confusions: confusions.slice(0, reportLimits.confusions).map(({ actual, predicted, rows }) => {
      return { expected: nameOf(actual), predicted: nameOf(predicted), count: rows }
    }),
    ...(matrix && { matrix: { labels: matrix.labels.map(nameOf), counts: matrix.counts.map((row) => [...row]) } }),
    ...(reliability && {
      reliability: reliability.bins.map(({ from, to, ...bin }) => ({ low: from, high: to, ...bin })),
    }),
    curve: run.curve.map(({ step, loss }) => ({ step, loss: finite(loss) })),
    epochs: losses
      .slice(0, reportLimits.epochs)
      .map((loss, epoch) => ({ epoch, held_out_loss: loss }))
      .filter(({ held_out_loss }) => Number.isFinite(held_out_loss)),
    warnings: run.warnings,
    seconds: run.seconds,
  }
  return withinBytes(report)
}

/** In their order. */
function mostFrequent<T extends { readonly label: string; readonly support: number }>(labels: readonly T[]): T[] {
  const least = labels.map(({ support }) => support).sort((a, b) => b - a)[reportLimits.labels - 1] ?? 0
  return labels
    .filter(({ support }) => support >= least)
    .slice(0, reportLimits.labels)
    .map((scores) => ({ ...scores, label: nameOf(scores.label) }))
}

/** Names of labels with many special characters take several times their length. */
function withinBytes(report: LearnReport): LearnReport {
  if (Buffer.byteLength(JSON.stringify(report)) <= reportLimits.bytes) return report
  const { matrix: _, labels, ...rest } = report
  const half = <T>(list: readonly T[]): T[] => list.slice(0, list.length >> 1)
  return withinBytes({
    ...rest,
    ...(labels && { labels: half(labels) }),
    confusions: half(rest.confusions),
    warnings: half(rest.warnings),
  })
}
