// What a learner does: trains the task that the server asks for, and reports how it goes. The head alone is reported as a
// complete task within seconds, the trained mask later.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { defaultColumns } from '../data/columns.js'
import { placeNumber } from '../data/file-survey.js'
import { learnTask } from '../learn/learn-task.js'
import { metricTable } from '../learn/metric-table.js'
import type { NewTask } from '../learn/new-task.js'
import { noMask } from '../learn/starting-masks.js'
import type { TrainingData } from '../learn/training-data.js'
import type { Fold } from '../learn/validation.js'
import { shortened } from '../problem.js'
import { activeScoreOf } from './active-score.js'
import { type LearnerMessage, type LearnerRequest, reportLimits, taskFileNames } from './messages.js'
import { ProgressReports } from './progress-reports.js'
import { finite, learnReport } from './report.js'
import { wrongPredictions } from './wrong-predictions.js'

/** As the command learn has them. */
const defaults = {
  devShare: 0.1,
  density: 0.5,
  batchRows: 32,
  weightDecay: 0.1,
  head: 'linear',
  maskRows: 'layer',
  combine: 'none',
  normalize: true,
  baseline: true,
} as const

/** Share of the time budget that is left to training. The scores of the task, and of the active one, take some. */
const trainingShare = 0.85

/**
 * @param send receives all messages but the last
 * @returns the last message
 * @throws Problem
 */
export async function trainFor(
  request: LearnerRequest,
  send: (message: LearnerMessage) => void,
): Promise<LearnerMessage> {
  const { directory, prototypeFile, masksDir, out, threads } = request
  const { problemType, metric, timeBudgetS, seed, maxLength, textPrefix } = request.options
  const reports = new ProgressReports(send)
  const warnings: string[] = []
  /** Of each example of the data. */
  const lines: number[] = []
  let data: TrainingData | undefined
  const { task } = await learnTask(
    {
      ...defaults,
      ...{ directory, prototypeFile, maxLength, threads, seed },
      startMasks: masksDir,
      data: request.data,
      columns: defaultColumns,
      ...(problemType && { problem: problemType }),
      ...(metric && { metric }),
      ...(textPrefix !== undefined && { textPrefix }),
      // The clock starts with the process.
      ...(timeBudgetS !== undefined && { deadline: 1000 * trainingShare * timeBudgetS }),
    },
    {
      signal: new AbortController().signal,
      onWarning: (warning) => {
        if (warnings.length < reportLimits.warnings) warnings.push(shortened(warning, reportLimits.warningLength))
      },
      onReading: () => {},
      onExample: ({ place }) => lines.push(placeNumber(place)),
      onData: (found) => {
        data = found
        reports.enter('head')
      },
      onValidation: ({ train, folds }) => {
        if (data) send(describeData(data, train.examples.length, folds, warnings))
      },
      onHead: (task) => {
        writeFileSync(join(out, taskFileNames.head), task.file)
        send(describeHead(task))
        reports.enter('comparing')
      },
      onStartProgress: ({ done, all }) => reports.within(done / all),
      onStart: () => reports.enter('training'),
      onProgress: (progress) => reports.training(progress),
      onEpoch: (epoch, loss) => reports.epoch(epoch, loss),
    },
  )
  reports.enter('evaluating')
  writeFileSync(join(out, taskFileNames.done), task.file)
  const activeScore = await activeScoreOf(request, task, lines, (warning) => warnings.push(warning))
  const { result, metric: chosen, scores } = task
  return {
    kind: 'done',
    isHead: result.start === noMask,
    metric: chosen,
    higherIsBetter: metricTable[chosen].higherIsBetter,
    ...scoreFields(task),
    scores: scores
      .filter(({ score }) => Number.isFinite(score))
      .map(({ metric, score, interval }) => ({
        metric,
        value: score,
        ...(interval && { low: interval[0], high: interval[1] }),
      })),
    report: learnReport(task, {
      examples: lines.length,
      curve: reports.curve,
      warnings: warnings.slice(0, reportLimits.warnings),
      seconds: performance.now() / 1000,
    }),
    ...(activeScore && { activeScore }),
    wrong: wrongPredictions(task, lines),
  }
}

function describeHead(task: NewTask): LearnerMessage {
  return { kind: 'head', metric: task.metric, ...scoreFields(task), heldOut: task.result.heldOut }
}

/** The score of a task with its interval. */
function scoreFields({ result, scores: [first] }: NewTask): {
  readonly score: number
  readonly interval?: [number, number]
} {
  return { score: finite(result.score), ...(first?.interval && { interval: [...first.interval] }) }
}

function describeData(
  { space, train, dev }: TrainingData,
  trained: number,
  folds: readonly Fold[],
  warnings: readonly string[],
): LearnerMessage {
  const { problem, labels } = space
  return {
    kind: 'data',
    problemType: problem,
    labels: labels.slice(0, reportLimits.labels).map((label) => shortened(label, reportLimits.labelLength)),
    labelCount: labels.length,
    examples: train.examples.length + dev.examples.length,
    heldOut: folds.length > 1 ? trained : dev.examples.length,
    folds: folds.length,
    warnings: [...warnings],
  }
}
